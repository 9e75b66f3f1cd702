"""How the answers of several sub-models become one. Pure; independent of the order of the answers.

With w the weights, renormalised over those that arrived, and f the answers over the union of all labels:

    WeightedSum    y = Σ w_i f_i, a label that a sub-model does not know counts 0; then Σ y = 1
    LogPool        y = softmax(Σ w_i log max(f_i, 1e-4))
    Vote           y_l = Σ w_i over those whose first label is l
    WeightedMean   y = Σ w_i f_i, then of unit length (embeddings)
    Best           the answer with the greatest weight

LogPool is the logarithmic opinion pool (Genest and Zidek, 1986), the others are linear.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fastserve.api.modelpool import Method

Vector = npt.NDArray[np.float64]
Row = npt.NDArray[np.float32]
LOG_FLOOR = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """One sub-model's answer to one text. `scores` is float32 [len(labels)], or [d] for an embedding."""

    name: str
    weight: float
    labels: tuple[str, ...]
    scores: Row


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """The one answer. `coverage` is the weight that arrived, of 1 that was asked."""

    labels: tuple[str, ...]
    scores: Vector
    coverage: float
    weights: dict[str, float]


def combine(method: Method, answers: Sequence[Arrived]) -> Combined:
    """Combine at least one answer. Weights of those that arrived are renormalised to 1."""
    ordered = sorted(answers, key=lambda one: (-one.weight, one.name))
    coverage = sum(one.weight for one in ordered)
    shares = [one.weight / coverage for one in ordered]
    labels, rows = _united(ordered)
    scores = _METHODS[method](np.array(shares), rows)
    weights = {one.name: share for one, share in zip(ordered, shares, strict=True)}
    return Combined(labels, scores, min(1.0, coverage), weights)


@lru_cache(maxsize=1024)
def union(label_sets: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """All labels, sorted where the sets differ, as they are where there is but one set."""
    if len(set(label_sets)) == 1:
        return label_sets[0]
    return tuple(sorted({label for labels in label_sets for label in labels}))


@lru_cache(maxsize=4096)
def places(labels: tuple[str, ...], within: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Index in `within` of each of `labels`."""
    index = {label: i for i, label in enumerate(within)}
    return np.array([index[label] for label in labels], dtype=np.intp)


def _united(answers: Sequence[Arrived]) -> tuple[tuple[str, ...], Vector]:
    """All answers as rows over the united labels; labels that a sub-model does not know are 0."""
    first = answers[0]
    if all(one.labels == first.labels for one in answers):
        return first.labels, np.stack([one.scores for one in answers]).astype(np.float64)
    labels = union(tuple(one.labels for one in answers))
    rows = np.zeros((len(answers), len(labels)))
    for i, one in enumerate(answers):
        rows[i, places(one.labels, labels)] = one.scores
    return labels, rows


def _weighted_sum(weights: Vector, rows: Vector) -> Vector:
    mixed = weights @ rows
    total = mixed.sum()
    return mixed / total if total > 0 else mixed


def _log_pool(weights: Vector, rows: Vector) -> Vector:
    logs = weights @ np.log(np.maximum(rows, LOG_FLOOR))
    powers = np.exp(logs - logs.max())
    return np.asarray(powers / powers.sum())


def _weighted_mean(weights: Vector, rows: Vector) -> Vector:
    mixed = weights @ rows
    length = float(np.linalg.norm(mixed))
    return mixed / length if length > 0 else mixed


def _vote(weights: Vector, rows: Vector) -> Vector:
    return np.bincount(rows.argmax(axis=1), weights=weights, minlength=rows.shape[1]).astype(np.float64)


def _best(weights: Vector, rows: Vector) -> Vector:
    return np.asarray(rows[int(weights.argmax())])


_METHODS: dict[Method, Callable[[Vector, Vector], Vector]] = {
    Method.WEIGHTED_SUM: _weighted_sum,
    Method.LOG_POOL: _log_pool,
    Method.WEIGHTED_MEAN: _weighted_mean,
    Method.VOTE: _vote,
    Method.BEST: _best,
}
