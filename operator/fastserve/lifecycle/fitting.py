"""The training loop: AdamW with warm-up and linear decay, and the best epoch kept."""

import copy
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from fastserve.lifecycle.learners import Learner
from fastserve.lifecycle.metrics import Metrics, measure
from fastserve.lifecycle.progress import Emit

_BUCKET = 20
"""Batches whose rows are sorted by length together: little padding, still shuffled."""
_WARM_UP = 0.1
_WEIGHT_DECAY = 0.01
_MAX_NORM = 1.0


@dataclass(frozen=True)
class FitSettings:
    """`patience` is how many epochs without a lower validation loss end the training."""

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int


@dataclass(frozen=True)
class Task:
    """Which rows of the learner to learn from and to be judged by, and the right classes of all."""

    learn: Sequence[int]
    judge: Sequence[int]
    truth: Sequence[int]
    labels: Sequence[str]


@dataclass(frozen=True)
class Fitted:
    """`epoch` is the one whose weights were kept, counted from 1."""

    epoch: int
    metrics: Metrics


def batches(learner: Learner, rows: Sequence[int], size: int, shuffler: random.Random) -> list[list[int]]:
    """All of `rows` once, in batches of alike lengths, shuffled."""
    order = list(rows)
    shuffler.shuffle(order)
    made: list[list[int]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(order[start : start + size * _BUCKET], key=lambda row: learner.lengths[row])
        made.extend(bucket[at : at + size] for at in range(0, len(bucket), size))
    shuffler.shuffle(made)
    return made


def probabilities(learner: Learner, rows: Sequence[int]) -> NDArray[np.float64]:
    """Class probabilities [n, L] of `rows`, in their order."""
    learner.module.eval()
    with torch.inference_mode():
        pieces = [softmax(learner.logits(rows[at : at + 64]).double(), 1) for at in range(0, len(rows), 64)]
    return torch.cat(pieces).numpy()


def judge(learner: Learner, task: Task) -> Metrics:
    """Metrics on the held-out rows."""
    truth = np.array([task.truth[row] for row in task.judge])
    return measure(probabilities(learner, task.judge), truth, task.labels)


def share_of_rate(step: int, steps: int) -> float:
    """Learning rate at `step` as a share of the highest: up over a tenth of the steps, then down to 0."""
    warm_up = max(1, math.ceil(steps * _WARM_UP))
    return min((step + 1) / warm_up, max(0.0, (steps - step) / max(1, steps - warm_up)))


class Optimiser:
    """AdamW over what may learn, one call per batch."""

    def __init__(self, learner: Learner, settings: FitSettings, steps: int) -> None:
        self._weights = [weight for weight in learner.module.parameters() if weight.requires_grad]
        self._adam = torch.optim.AdamW(
            self._weights, lr=settings.learning_rate, weight_decay=_WEIGHT_DECAY, fused=True
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._adam, lambda at: share_of_rate(at, steps))

    def step(self, loss: Tensor) -> None:
        self._adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._weights, _MAX_NORM)
        self._adam.step()
        self._schedule.step()


class Run:
    """One training: what stays the same from epoch to epoch."""

    def __init__(self, learner: Learner, task: Task, settings: FitSettings, emit: Emit) -> None:
        self._learner, self._task, self._settings, self._emit = learner, task, settings, emit
        self._shuffler = random.Random(settings.seed)  # noqa: S311 -- a reproducible order, not a secret
        self._steps = math.ceil(len(task.learn) / settings.batch_size)
        self._optimiser = Optimiser(learner, settings, self._steps * settings.epochs)

    def epoch(self, number: int) -> float:
        """Learn from every row once; the mean loss of the batches."""
        self._learner.module.train()
        losses = []
        rows_of = batches(self._learner, self._task.learn, self._settings.batch_size, self._shuffler)
        for step, rows in enumerate(rows_of, 1):
            truth = torch.tensor([self._task.truth[row] for row in rows])
            loss = cross_entropy(self._learner.logits(rows), truth)
            self._optimiser.step(loss)
            losses.append(loss.item())
            self._emit(
                {"event": "step", "epoch": number, "step": step, "steps": self._steps, "loss": losses[-1]}
            )
        return sum(losses) / len(losses)


def fit(learner: Learner, task: Task, settings: FitSettings, emit: Emit) -> Fitted:
    """Train `learner` in place and leave it with the weights of its best epoch.

    The best epoch is the one of the lowest validation loss, not of the highest accuracy: the loss also
    sees overconfidence, which would spoil a mixture of several models.
    """
    run = Run(learner, task, settings, emit)
    best: Fitted | None = None
    weights = learner.module.state_dict()
    for number in range(1, settings.epochs + 1):
        loss, metrics = run.epoch(number), judge(learner, task)
        better = best is None or metrics.loss < best.metrics.loss
        if better or best is None:
            best, weights = Fitted(number, metrics), copy.deepcopy(learner.module.state_dict())
        emit(_epoch_event(Fitted(number, metrics), settings, loss, "best" if better else "worse"))
        if number - best.epoch >= settings.patience:
            break
    learner.module.load_state_dict(weights)
    return cast("Fitted", best)


def _epoch_event(fitted: Fitted, settings: FitSettings, loss: float, than_before: str) -> dict[str, object]:
    return {
        "event": "epoch",
        "epoch": fitted.epoch,
        "epochs": settings.epochs,
        "loss": loss,
        "validationLoss": fitted.metrics.loss,
        "validationAccuracy": fitted.metrics.accuracy,
        "thanBefore": than_before,
    }
