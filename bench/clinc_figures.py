"""From answers to figures. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinc_serve import Pass
from fastserve.lifecycle.metrics import calibration_error


@dataclass(frozen=True)
class Selection:
    """How well /v1/route chooses. `oos_auroc` is for the nearest similarity as a sign of belonging."""

    top1: float
    top2: float
    oos_auroc: float
    ece: float
    refused: int


@dataclass(frozen=True)
class Answers:
    """How well /v1/predict answers, and what it costs. `asked` is the mean number of members."""

    accuracy: float
    ece: float
    asked: float
    failed: int
    p50_millis: float
    p99_millis: float
    router_cpu_millis: float


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Chance that a score from inside is above one from outside, ties counted half (Mann-Whitney U)."""
    difference = np.sign(inside[:, None] - outside[None, :])
    return float((difference.mean() + 1) / 2)


def selection_figures(known: Pass, unknown: Pass, truth: Sequence[str]) -> Selection:
    """`truth` is the right sub-model of each known text."""
    orders = [_by_similarity(reply.document) for reply in known.replies]
    right = np.array([next(iter(order), None) == name for order, name in zip(orders, truth, strict=True)])
    among_two = [name in list(order)[:2] for order, name in zip(orders, truth, strict=True)]
    inside = np.array([max(order.values(), default=-1.0) for order in orders])
    outside = np.array(
        [max(_by_similarity(reply.document).values(), default=-1.0) for reply in unknown.replies]
    )
    confidence = np.array([float(reply.document.get("confidence", 0.0)) for reply in known.replies])
    return Selection(
        top1=float(right.mean()),
        top2=float(np.mean(among_two)),
        oos_auroc=auroc(inside, outside),
        ece=calibration_error(confidence, right),
        refused=sum(reply.status != 200 for reply in (*known.replies, *unknown.replies)),
    )


def _by_similarity(document: Mapping[str, object]) -> dict[str, float]:
    """Sub-models and their similarities, the nearest first."""
    members = document.get("members")
    rows = members if isinstance(members, list) else []
    known = {row["name"]: float(row["similarity"]) for row in rows if row.get("similarity") is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def answer_figures(answered: Pass, truth: Sequence[str]) -> Answers:
    """`truth` is the right label of each text. A refusal is a wrong answer without confidence."""
    documents = [reply.document for reply in answered.replies]
    right = np.array([one.get("label") == label for one, label in zip(documents, truth, strict=True)])
    score = np.array([float(one.get("score", 0.0)) for one in documents])
    millis = np.array([reply.seconds for reply in answered.replies]) * 1000
    return Answers(
        accuracy=float(right.mean()),
        ece=calibration_error(score, right),
        asked=float(np.mean([len(one.get("members", ())) for one in documents])),
        failed=sum(reply.status != 200 for reply in answered.replies),
        p50_millis=float(np.percentile(millis, 50)),
        p99_millis=float(np.percentile(millis, 99)),
        router_cpu_millis=answered.cpu_millis,
    )
