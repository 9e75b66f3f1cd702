"""Sub-models of one pool that share scarce GPUs: replicas go where they help most.

The benefit of one more replica is the share of its sub-model's requests that it serves and that would be
turned away without it, per GPU; the greatest first (greedy, which is best for concave benefits: Fox, 1966).
"""

from collections.abc import Mapping
from dataclasses import dataclass

MOVES = 1.5
"""A replica is taken from one sub-model for another only where it helps so many times as much there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one sub-model asks for. `running` are its replicas now, `least` those that it gets first."""

    wanted: int
    running: int
    least: int = 0
    gpus: int = 1


def shared(claims: Mapping[str, Claim], gpus: int) -> dict[str, int]:
    """Replicas for each, together on at most `gpus`. Where even the least do not fit, those that run stay
    first, and then the smallest come first, by name."""
    given = dict.fromkeys(claims, 0)
    left = gpus
    for by in (_kept_least, _least):
        for name, claim in sorted(claims.items(), key=lambda one: (one[1].gpus, one[0])):
            for _ in range(by(claim) - given[name]):
                if claim.gpus <= left:
                    given[name] += 1
                    left -= claim.gpus
    while True:
        open_claims = [
            name for name, claim in claims.items() if given[name] < claim.wanted and claim.gpus <= left
        ]
        if not open_claims:
            return given
        best = min(open_claims, key=lambda name: (-_benefit(claims[name], given[name]), name))
        given[best] += 1
        left -= claims[best].gpus


def _kept_least(claim: Claim) -> int:
    return min(claim.least, claim.running, claim.wanted)


def _least(claim: Claim) -> int:
    return min(claim.least, claim.wanted)


def _benefit(claim: Claim, given: int) -> float:
    """One of `wanted` replicas serves 1 / wanted of the requests; one that runs need not be loaded, and what
    would only move to and fro stays where it is."""
    if not claim.gpus:
        return float("inf")
    kept = MOVES if given < claim.running else 1.0
    return kept / (claim.wanted * claim.gpus)
