"""How many requests to keep inside a Triton: the fewest that give (nearly) all it can answer. Pure.

Triton batches: up to the size of a batch more requests take hardly longer, and latency, which the gradients
of Envoy and Netflix steer by, says nothing about where that ends. What does is the number of answers per
second: while a limit binds, half of it is tried, and kept where the answers per second stay; where they
fall, the double is tried, and kept where they grow. A few steps find the knee; then it is looked at again
once a minute, and at once when the backend has changed its pace.

Answers that come too late do not count as answers. So a backend that is asked for more at once than it can
answer in time gets less as well.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

KEPT = 0.95
"""A step down is kept where this share of the best pace stays, a step up where the gain is as large."""
CHANGED = 0.2
"""A pace that differs by this share at the same limit is another backend: what was known of it is void."""
LOOK_SECONDS = 60.0
LOOK_JITTER = 0.15
"""Between two looks: the interval and jitter of Envoy's minRTT (adaptive_concurrency, its defaults)."""
ROUNDS = 8
LEAST_ANSWERS = 50
"""A pace is measured over so many answers for each place, and no fewer than these. Answers come in batches:
over eight rounds one batch more or less is a few per cent."""
SMOOTHING = 0.25


class Trial(IntEnum):
    """Which way is being tried."""

    NONE = 0
    DOWN = 1
    UP = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """A window in which the limit held somebody back all the time."""

    answers: int
    """Those in time."""
    seconds: float

    @property
    def pace(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What is known of a backend. `places` is the most that may ever be inside."""

    places: int
    now: int
    """In force."""
    base: int
    """What a trial is held against, and falls back to."""
    pace: float = 0.0
    """At `base`, smoothed; 0 where it was not measured yet."""
    best: float = 0.0
    """Pace of the best that was found since the backend changed last."""
    trial: Trial = Trial.NONE
    moved: bool = False
    """Whether the look that is under way has kept a step."""
    settling: bool = False
    """The limit has just changed: what is inside came under the old one."""
    look_at: float = 0.0

    @staticmethod
    def of(places: int) -> "Limit":
        """Open to the full: whatever is learnt, it is never worse than no limit at all."""
        return Limit(places, places, places)

    @property
    def window(self) -> int:
        """Answers, the late ones too, after which `next_limit` wants to be asked."""
        return 2 * self.now if self.settling else max(ROUNDS * self.now, LEAST_ANSWERS)


def next_limit(limit: Limit, sample: Sample, now: float, dice: float) -> Limit:
    """After one window. `now` is seconds of a clock that only goes forward, `dice` is between 0 and 1."""
    if limit.settling:
        return replace(limit, settling=False)
    if limit.trial is Trial.NONE:
        return _hold(limit, sample.pace, now)
    look_at = now + LOOK_SECONDS * (1.0 + LOOK_JITTER * dice)
    return _judged(limit, sample.pace, look_at)


def resized(limit: Limit, places: int) -> Limit:
    """With another bound. What was learnt under the old one is kept where it still fits."""
    if places == limit.places:
        return limit
    if limit.now == limit.places or limit.now > places:
        return Limit.of(places)
    return replace(limit, places=places)


def _hold(limit: Limit, pace: float, now: float) -> Limit:
    known = limit.pace
    if abs(pace - known) > CHANGED * known:
        return _looking(replace(limit, pace=pace, best=pace))
    known += SMOOTHING * (pace - known)
    held = replace(limit, pace=known, best=max(limit.best, known))
    return _looking(held) if now >= limit.look_at else held


def _looking(limit: Limit) -> Limit:
    """The first step of a look: down, where there is a way down."""
    return _try(replace(limit, moved=False), Trial.DOWN if limit.base > 1 else Trial.UP)


def _try(limit: Limit, way: Trial) -> Limit:
    target = max(1, limit.base // 2) if way is Trial.DOWN else min(limit.places, limit.base * 2)
    if target == limit.base:
        return replace(limit, now=limit.base, trial=Trial.NONE, settling=limit.now != limit.base)
    return replace(limit, now=target, trial=way, settling=True)


def _judged(limit: Limit, pace: float, look_at: float) -> Limit:
    """A trial's end. A step that is kept is followed by the next one the same way; a first step down that
    is not, by one up."""
    down = limit.trial is Trial.DOWN
    kept = pace >= KEPT * limit.best if down else KEPT * pace > limit.pace
    if kept:
        best = max(limit.best, pace)
        moved = replace(limit, base=limit.now, pace=pace, best=best, moved=True, look_at=look_at)
        return _try(moved, limit.trial)
    if down and not limit.moved and limit.base < limit.places:
        return _try(limit, Trial.UP)
    return replace(limit, now=limit.base, trial=Trial.NONE, settling=True, look_at=look_at)
