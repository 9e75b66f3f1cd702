"""How good a classifier is on held-out rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLOOR = 1e-12


@dataclass(frozen=True)
class Metrics:
    """`loss` is the mean negative log-likelihood in nats, `ece` the expected calibration error,
    `per_label` the accuracy among the rows of each label."""

    rows: int
    accuracy: float
    loss: float
    ece: float
    per_label: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        fields = {name: value for name, value in asdict(self).items() if name != "per_label"}
        return {**fields, "perLabel": self.per_label}


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error: |accuracy - mean confidence| over bins of equal width, weighed by
    their share of the rows (Guo et al. 2017). Both arrays are [n]; confidence is in [0, 1]."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def measure(probabilities: NDArray[np.float64], truth: NDArray[np.int64], labels: Sequence[str]) -> Metrics:
    """Metrics of probabilities [n, L] against the right classes [n]."""
    correct = probabilities.argmax(axis=1) == truth
    likelihood = probabilities[np.arange(len(truth)), truth]
    return Metrics(
        rows=len(truth),
        accuracy=float(correct.mean()),
        loss=float(-np.log(np.maximum(likelihood, _FLOOR)).mean()),
        ece=calibration_error(probabilities.max(axis=1), correct),
        per_label={
            label: float(correct[truth == place].mean())
            for place, label in enumerate(labels)
            if bool((truth == place).any())
        },
    )
