"""Two ways to learn a classifier: the whole model, or only its head over a frozen body.

Both serve the standard ``…ForSequenceClassification`` forward: the head reads the first token's vector.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

_ENCODE_BATCH = 64


class Learner(Protocol):
    """Something with weights that answers for rows, which are numbered."""

    module: nn.Module
    lengths: Sequence[int]
    """Tokens of each row, or ones where the length does not matter to the cost."""

    def logits(self, rows: Sequence[int]) -> Tensor:
        """Logits [n, L]."""


class WholeModel:
    """Every weight but the embedding tables learns.

    The tables stay: they are half of a small model's weights, so a step costs less, and words that the
    data do not show keep their meaning.
    """

    def __init__(self, model: nn.Module, tokens: Sequence[Sequence[int]]) -> None:
        self.module: nn.Module = model
        self.lengths: Sequence[int] = [len(ids) for ids in tokens]
        self._tokens = tokens
        for table in embedding_tables(model):
            table.weight.requires_grad_(False)

    def logits(self, rows: Sequence[int]) -> Tensor:
        ids, mask = padded([self._tokens[row] for row in rows], pad_of(self.module))
        return cast("Tensor", self.module(input_ids=ids, attention_mask=mask).logits)


class HeadOnly:
    """The body encodes every row once; only the head learns, over the kept vectors."""

    def __init__(self, model: nn.Module, tokens: Sequence[Sequence[int]]) -> None:
        self.module: nn.Module = head_of(model)
        self.lengths: Sequence[int] = [1] * len(tokens)
        self._vectors = first_vectors(model, tokens)

    def logits(self, rows: Sequence[int]) -> Tensor:
        return cast("Tensor", self.module(self._vectors[list(rows)]))


def embedding_tables(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]


def pad_of(model: nn.Module) -> int:
    """The padding token's id, from the model's config."""
    return int(cast("Any", model).config.pad_token_id or 0)


def padded(tokens: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(ids, mask), both int64 [n, longest]."""
    longest = max(map(len, tokens))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in tokens])
    return ids, mask


@torch.inference_mode()
def first_vectors(model: nn.Module, tokens: Sequence[Sequence[int]]) -> Tensor:
    """Last hidden state of each row's first token, [n, 1, hidden], encoded by length for less padding."""
    model.eval()
    body = cast("Any", model).base_model
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    vectors: dict[int, Tensor] = {}
    for start in range(0, len(order), _ENCODE_BATCH):
        rows = order[start : start + _ENCODE_BATCH]
        ids, mask = padded([tokens[row] for row in rows], pad_of(model))
        hidden = body(input_ids=ids, attention_mask=mask).last_hidden_state[:, :1]
        vectors.update(zip(rows, hidden, strict=True))
    return torch.stack([vectors[row] for row in range(len(tokens))]).clone()


class _FirstToken(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden[:, 0]


def _bert_head(model: Any) -> nn.Module:
    return nn.Sequential(model.bert.pooler, model.dropout, model.classifier)


def _roberta_head(model: Any) -> nn.Module:
    return cast("nn.Module", model.classifier)


def _distilbert_head(model: Any) -> nn.Module:
    return nn.Sequential(_FirstToken(), model.pre_classifier, nn.ReLU(), model.dropout, model.classifier)


_HEADS: dict[str, Callable[[Any], nn.Module]] = {
    "bert": _bert_head,
    "roberta": _roberta_head,
    "distilbert": _distilbert_head,
}


def head_of(model: nn.Module) -> nn.Module:
    """What turns the first token's hidden state [n, 1, hidden] into logits, sharing the model's weights."""
    return _HEADS[cast("Any", model).config.model_type](model)
