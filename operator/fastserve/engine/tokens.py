"""Texts to token ids, with the checkpoint's own tokenizer.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from fastserve.errors import CheckpointError


@dataclass(frozen=True)
class TokenGroup:
    """A group of texts padded to its longest. `ids` int64 [n, tokens]; `mask` int64 [n, tokens], 1 for a
    token and 0 for padding, None where nothing is padded."""

    ids: Tensor
    mask: Tensor | None


class TextTokenizer:
    """Tokenises without padding; `pad` fills a group up to its longest text with the model's own pad id."""

    def __init__(self, folder: Path, max_tokens: int, pad_id: int) -> None:
        """Raises CheckpointError where tokenizer.json is missing or unreadable."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError("tokenizer.json is missing in the checkpoint folder")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises a bare Exception
            raise CheckpointError(f"tokenizer.json cannot be read: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=max_tokens)
        self._pad_id = pad_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at least one: a model cannot attend to nothing."""
        return [encoding.ids or [self._pad_id] for encoding in self._tokenizer.encode_batch_fast(texts)]

    def pad(self, rows: Sequence[list[int]], device: str) -> TokenGroup:
        """One group as tensors on `device`."""
        longest = max(map(len, rows))
        padded = torch.tensor([row + [self._pad_id] * (longest - len(row)) for row in rows], device=device)
        if all(len(row) == longest for row in rows):
            return TokenGroup(padded, None)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = (torch.arange(longest, device=device)[None, :] < lengths[:, None]).long()
        return TokenGroup(padded, mask)


def positions_of(max_position_embeddings: int, pad_id: int, family: str) -> int:
    """How many tokens the checkpoint has positions for. RoBERTa counts its positions from pad id + 1."""
    return max_position_embeddings - pad_id - 1 if family == "roberta" else max_position_embeddings
