"""Whether a candidate answers as the version before does: the same kind of answer, and on the sub-model's own
examples the same answers."""

from collections.abc import Sequence

import numpy as np

from fastserve.api.versions import GATE_FAILED
from fastserve.errors import EngineError
from fastserve.router.oip import Scores
from fastserve.router.serving import OwnReplica
from fastserve.router.versions.trial import Serving

MAX_EXAMPLES = 32
SAME_DIRECTION = 0.99


class GateRefused(EngineError):
    """The candidate does not answer as it must."""

    reason = GATE_FAILED


async def compare(
    replica: OwnReplica, stable: Serving, candidate: Serving, examples: Sequence[str]
) -> float | None:
    """Share of the first 32 examples on which both agree; None where there are none. Raises GateRefused where
    their answers are of different kinds, BackendError where one does not answer."""
    if stable.output != candidate.output or set(stable.labels) != set(candidate.labels):
        raise GateRefused(
            f"{candidate.name} answers with the labels {', '.join(candidate.labels) or 'none'}, the version"
            f" before with {', '.join(stable.labels) or 'none'}"
        )
    if stable.width != candidate.width:
        raise GateRefused(f"{candidate.name} gives {candidate.width} numbers, not {stable.width}")
    texts = [example.encode() for example in examples[:MAX_EXAMPLES]]
    if not texts:
        return None
    return agreement(
        (stable, candidate), await _ask(replica, stable, texts), await _ask(replica, candidate, texts)
    )


def agreement(of: tuple[Serving, Serving], before: Scores, after: Scores) -> float:
    """Share of rows with the same best label, or of vectors (no labels) of cosine .99 and more."""
    if not of[0].labels:
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        same = np.sum(before * after, axis=1) >= SAME_DIRECTION * np.maximum(lengths, 1e-12)
        return float(np.mean(same))
    best = [
        [one.labels[i] for i in np.argmax(rows, axis=1)]
        for one, rows in zip(of, (before, after), strict=True)
    ]
    return float(np.mean([one == other for one, other in zip(*best, strict=True)]))


def check_agreement(found: float, least: str) -> None:
    """Raises GateRefused under `least`."""
    if found < float(least):
        raise GateRefused(
            f"it agrees with the version before on {found:.3g} of the examples; gate.minAgreement is {least}"
        )


async def _ask(replica: OwnReplica, serving: Serving, texts: Sequence[bytes]) -> Scores:
    size = serving.max_batch
    parts = [await replica.prove(serving, texts[i : i + size]) for i in range(0, len(texts), size)]
    return np.concatenate(parts)
