"""Samples, reports and tables for tests of scaling."""

import random
from collections.abc import Sequence

from fastserve.api.scaling import ROW_SECONDS, WAIT_BOUNDS, LoadReport, LoadRow
from fastserve.scaling.decide import Wish, decide
from fastserve.scaling.samples import BUCKETS, Bounds, Sample, Standing

START = 1_700_000_000


def waits(count: float, seconds: float) -> tuple[float, ...]:
    """So many requests that all waited about so long."""
    buckets = [0.0] * BUCKETS
    buckets[next((i for i, bound in enumerate(WAIT_BOUNDS) if seconds <= bound), BUCKETS - 1)] = count
    return tuple(buckets)


def sample(at: float, arrivals: float, waited: float = 0.0, **more: float) -> Sample:
    """A slot in which so many requests came and waited so long."""
    fields = {"busy_seconds": arrivals * 0.05, **more}
    return Sample(at, arrivals, arrivals, waits=waits(arrivals, waited), **fields)  # type: ignore[arg-type]


def steady(rate: float, seconds: float, waited: float = 0.0, start: float = START) -> list[Sample]:
    """A history of one rate without noise."""
    return [
        sample(start + i * ROW_SECONDS, rate * ROW_SECONDS, waited) for i in range(int(seconds / ROW_SECONDS))
    ]


def now_of(samples: Sequence[Sample]) -> float:
    return samples[-1].at + ROW_SECONDS + 0.3


def decided(samples: Sequence[Sample], standing: Standing, bounds: Bounds) -> Wish:
    """The decision just after the newest slot."""
    return decide(samples, standing, bounds, now_of(samples))


def poisson(rng: random.Random, mean: float) -> int:
    """A count of so great a mean."""
    count, total = 0, rng.expovariate(1.0)
    while total < mean:
        count += 1
        total += rng.expovariate(1.0)
    return count


def own_row(at: int, arrivals: int, waited: float = 0.0, member: str = "sport") -> LoadRow:
    """A row of a member's own router."""
    counts = tuple(int(one) for one in waits(arrivals, waited))
    return LoadRow(
        at=at, member=member, own=True, arrivals=arrivals, answered=arrivals, waits=counts, busy_seconds=0.0
    )


def door_row(at: int, sent: dict[str, int], member: str = "sport", waiting: int = 0) -> LoadRow:
    """A row of a door."""
    return LoadRow(
        at=at, member=member, own=False, arrivals=sum(sent.values()) + waiting, waiting=waiting, sent=sent
    )


def report(
    instance: str, rows: Sequence[LoadRow], member: str | None = "sport", **more: object
) -> LoadReport:
    """What a router tells right after its last row."""
    now = max((row.at for row in rows), default=START) + ROW_SECONDS + 0.1
    fields: dict[str, object] = {"ready": True, "limit": 8, "now": now, **more}
    return LoadReport(instance=instance, member=member, rows=tuple(rows), **fields)  # type: ignore[arg-type]
