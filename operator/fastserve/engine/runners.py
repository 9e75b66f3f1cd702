"""What a rank computes, by task. A runner knows no processes and no sockets, so that a task with another
shape (a stream of tokens, a stage of a pipeline) is a runner beside these, under the same supervisor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from fastserve.api.families import check_degree, shape_of
from fastserve.engine.batches import group_by_length
from fastserve.engine.checkpoint import Checkpoint, Progress, TensorSource, fill, open_checkpoint
from fastserve.engine.plans import PLANS, FamilyPlan, classifier_cuts, cut_model
from fastserve.engine.sharding import Group
from fastserve.engine.tokens import TextTokenizer, positions_of
from fastserve.errors import CheckpointError, EngineError


@dataclass(frozen=True)
class Load:
    """What to load: the checkpoint folder, this rank's place in its group, torch's name of its device, and
    how many tokens of a text to read (None: as many as the checkpoint has positions)."""

    folder: Path
    group: Group
    device: str
    max_tokens: int | None = None


class Runner(Protocol):
    """A loaded model. `labels` are the classes in the order of the scores, empty for embeddings."""

    labels: tuple[str, ...]
    width: int
    parameter_bytes: int

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Answers [n, width]; every rank of a group must be asked the same."""


RunnerFactory = Callable[[Load, Progress], Runner]


@dataclass
class EncoderRunner:
    """Groups texts by length, runs each group, and puts the answers back in the order of the texts."""

    model: nn.Module
    tokenizer: TextTokenizer
    device: str
    head: Callable[[Any, Tensor | None], Tensor]
    labels: tuple[str, ...]
    width: int
    parameter_bytes: int

    @torch.inference_mode()
    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = self.tokenizer.encode(texts)
        answers = np.empty((len(rows), self.width), dtype=np.float32)
        for indices in group_by_length([len(row) for row in rows]):
            tokens = self.tokenizer.pad([rows[index] for index in indices], self.device)
            output = self.model(input_ids=tokens.ids, attention_mask=tokens.mask)
            answers[indices] = self.head(output, tokens.mask).cpu().numpy()
        return answers


def load_classifier(load: Load, progress: Progress) -> Runner:
    """A sequence classifier; scores are probabilities, by the rule of transformers' pipeline: a sigmoid
    for one label or `multi_label_classification`, nothing for `regression`, else a softmax."""
    checkpoint, plan, config = _described(load)
    model = _built(plan.classifier, config, {})
    size = _filled(model, classifier_cuts(plan), (load, plan, checkpoint), progress)
    labels = tuple(config.id2label[index] for index in sorted(config.id2label))
    to_scores = _activation(config.problem_type, len(labels))
    return EncoderRunner(
        model=model,
        tokenizer=_tokenizer(load, checkpoint, config),
        device=load.device,
        head=lambda output, _: to_scores(output.logits),
        labels=labels,
        width=len(labels),
        parameter_bytes=size,
    )


def load_embedder(load: Load, progress: Progress) -> Runner:
    """A sentence encoder: the mean of the last hidden states over the text's tokens, scaled to length 1
    (Reimers and Gurevych, arXiv:1908.10084)."""
    checkpoint, plan, config = _described(load)
    # The mean does not read the pooler, so that no rank holds it.
    model = _built(plan.encoder, config, {"add_pooling_layer": False} if plan.has_pooler else {})
    size = _filled(model, plan.body, (load, plan, checkpoint), progress)
    return EncoderRunner(
        model=model,
        tokenizer=_tokenizer(load, checkpoint, config),
        device=load.device,
        head=lambda output, mask: mean_pooled(output.last_hidden_state, mask),
        labels=(),
        width=int(checkpoint.config[shape_of(checkpoint.config).hidden]),
        parameter_bytes=size,
    )


RUNNERS: Mapping[str, RunnerFactory] = {
    "TextClassification": load_classifier,
    "Embedding": load_embedder,
}
"""By the pool's task."""


def load_runner(task: str, load: Load, progress: Progress) -> Runner:
    """Load the runner of a task. Raises CheckpointError for what is wrong with the checkpoint, InvalidSpec
    for a family or degree that cannot be served, EngineError for an unknown task."""
    if task not in RUNNERS:
        raise EngineError(f"task {task!r} is not one of {', '.join(RUNNERS)}")
    return RUNNERS[task](load, progress)


def mean_pooled(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `hidden` [n, tokens, width] over the tokens that `mask` [n, tokens] keeps, of length 1."""
    if mask is None:
        mean = hidden.mean(dim=1)
    else:
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * kept).sum(dim=1) / kept.sum(dim=1)
    return nn.functional.normalize(mean, dim=-1)


def _described(load: Load) -> tuple[Checkpoint, FamilyPlan, Any]:
    checkpoint = open_checkpoint(load.folder)
    family = shape_of(checkpoint.config)
    absent = [
        key for key in (family.heads, family.hidden, family.intermediate) if key not in checkpoint.config
    ]
    if absent:
        raise CheckpointError(f"config.json does not tell {', '.join(absent)}")
    check_degree(checkpoint.config, load.group.size)
    try:
        config = transformers.AutoConfig.from_pretrained(load.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"config.json cannot be used: {error}") from error
    return checkpoint, PLANS[checkpoint.config["model_type"]], config


def _built(name: str, config: Any, options: Mapping[str, bool]) -> nn.Module:
    model_class = getattr(transformers, name)
    config._attn_implementation = "sdpa"
    try:
        with torch.device("meta"):
            model: nn.Module = model_class(config, **options)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"config.json does not describe a {name}: {error}") from error
    return model.eval().requires_grad_(requires_grad=False)


def _filled(
    model: nn.Module, cuts: Mapping[str, Any], source: tuple[Load, FamilyPlan, Checkpoint], progress: Progress
) -> int:
    load, plan, checkpoint = source
    spans = cut_model(model, cuts, load.group) if load.group.size > 1 else {}
    return fill(model, spans, TensorSource(checkpoint, plan.prefix, progress), load.device)


def _tokenizer(load: Load, checkpoint: Checkpoint, config: Any) -> TextTokenizer:
    pad_id = config.pad_token_id or 0
    positions = positions_of(config.max_position_embeddings, pad_id, config.model_type)
    return TextTokenizer(checkpoint.folder, min(load.max_tokens or positions, positions), pad_id)


def _activation(problem_type: str | None, labels: int) -> Callable[[Tensor], Tensor]:
    if problem_type == "regression":
        return lambda logits: logits
    if problem_type == "multi_label_classification" or labels == 1:
        return torch.sigmoid
    return lambda logits: torch.softmax(logits, dim=-1)
