"""What a run is worth: for those who asked, and for those who pay."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

from scaling.simulate import Run, Terms

FLAP_SECONDS = 600.0
"""Within which a change the other way counts as a flap."""
ATTAINED = 0.95
"""Share of the requests that are to wait no longer than the target."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Figures:
    """One run. Seconds; `cold` are requests that waited for a replica's start."""

    requests: int
    attainment: float
    wait_p95: float
    replica_seconds: float
    cold: int
    flaps_per_hour: float
    lost: int


def figures(run: Run, terms: Terms) -> Figures:
    """Lost requests count as late."""
    requests = len(run.waits) + run.lost
    in_time = sum(wait <= terms.target for wait in run.waits)
    hours = (terms.until - terms.judged_from) / 3600.0
    return Figures(
        requests=requests,
        attainment=round(in_time / requests, 5) if requests else 1.0,
        wait_p95=round(quantile(run.waits, 0.95), 4),
        replica_seconds=run.replica_seconds,
        cold=run.held,
        flaps_per_hour=round(flaps(run.changes, terms.start, terms.judged_from) / hours, 2),
        lost=run.lost,
    )


def flaps(changes: Sequence[tuple[float, int]], start: int, since: float = 0.0) -> int:
    """Changes the other way than the one before them, when that was within FLAP_SECONDS."""
    found, way, before, at_before = 0, 0, start, 0.0
    for at, replicas in changes:
        now = 1 if replicas > before else -1
        found += bool(way) and now != way and at - at_before <= FLAP_SECONDS and at >= since
        way, before, at_before = now, replicas, at
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the ratios of pairs, and a 95 % interval of it (bootstrap: Efron, 1979)."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    dice = Random(0)
    means = sorted(fmean(dice.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return fmean(ratios), quantile(means, 0.025), quantile(means, 0.975)
