"""What a decision is made of: the load of one sub-model, all its routers together, slot by slot."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastserve.api.scaling import WAIT_BOUNDS

BUCKETS = len(WAIT_BOUNDS) + 1
JUDGED_SHARE = 0.95
"""The quantile of waits that the target is for; staffing.LATE_SHARE is what may lie above."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One slot of ROW_SECONDS from `at` (Unix time). Counts are of the slot.

    Two books are kept of what came: of who sent and of who got it. Where they differ, `arrivals_low` is what
    both say, and `arrivals_high` what one says.
    """

    at: float
    arrivals_low: float = 0.0
    arrivals_high: float = 0.0
    busy_seconds: float = 0.0
    """Inferences that ran, summed over time: busy_seconds / ROW_SECONDS ran on average."""
    waiting: float = 0.0
    """Requests that waited for a place when the slot ended."""
    waits: tuple[float, ...] = (0.0,) * BUCKETS
    """Requests by how long they waited (WAIT_BOUNDS)."""
    replicas: int = 0
    """That told of the slot; 0: not known."""
    heard: float = 1.0
    """Share of the routers that were to be heard and were, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is so with the sub-model now."""

    replicas: int
    """That are to run, by the last word written."""
    ready: int
    """That take requests."""
    load_seconds: float = 0.0
    """From the start of a replica to its first answer; 0: not known."""
    limit: int = 0
    """Requests that one replica lets in at once; 0: not known."""
    pace: float = 0.0
    """Requests per second that one replica answers while some wait; 0: not known."""
    unplaced: int = 0
    """Replicas that no node takes."""
    held: float = 0.0
    """Requests that doors hold for a sleeper."""
    stirred: bool = False
    """Something came of late, by the word of the replicas themselves."""
    proved: bool = True
    """It is noted that its version has answered; one that nobody noted may not go to sleep."""
    lag: float = 0.0
    """Seconds by which the newest slot is late at the best, as where load is read from tells it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What its user wants, seconds."""

    least: int
    most: int
    target_seconds: float = 0.1
    down_delay_seconds: float = 60.0
    idle_seconds: float = 300.0


def quantile_of(samples: Sequence[Sample], share: float) -> float:
    """Seconds that so great a `share` of the requests waited at most, interpolated within a bucket as
    Prometheus' histogram_quantile does; 0 without requests, the last bound above it."""
    counts = [sum(one.waits[i] for one in samples) for i in range(BUCKETS)]
    rank, seen = share * sum(counts), 0.0
    if not rank:
        return 0.0
    for i, count in enumerate(counts[:-1]):
        if seen + count >= rank:
            low = WAIT_BOUNDS[i - 1] if i else 0.0
            return low + (WAIT_BOUNDS[i] - low) * (rank - seen) / count
        seen += count
    return WAIT_BOUNDS[-1]
