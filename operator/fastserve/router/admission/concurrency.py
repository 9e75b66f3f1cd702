"""How many requests to keep inside a Triton: the fewest that give (nearly) all it can answer. Pure.

Triton batches: up to the size of a batch more requests take hardly longer, and latency, which the gradients
of Envoy and Netflix steer by, says nothing about where that ends. What does is the number of answers per
second: while a limit binds, half of it is tried, and kept where the answers per second stay; where they
fall, there or later, the double is tried, and kept where they grow. A few steps find the knee; then it is
looked at again once a minute, and at once when the backend has changed its pace.

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
LATE = 0.1
"""Where more than this share ends too late, half as many are let in, and no more for as long as between two
looks (multiplicative decrease: Chiu and Jain, 1989)."""
ENOUGH_LATE = 10
"""Late ones that are enough to say so before the window's end."""
ROUNDS = 4
LEAST_ANSWERS = 50
"""A pace is measured over so many answers for each place, and no fewer than these. Answers come in batches:
over four rounds one batch more or less is a few per cent."""
PLAINLY, PLAIN_ANSWERS = 0.7, 16
"""A step down with less than this share of the best pace is given up after so many answers: a slow model that
answers half as many would do so for ten seconds and more, and just when it is pressed."""
SMOOTHING = 0.25


class Trial(IntEnum):
    """Which way is being tried."""

    NONE = 0
    DOWN = 1
    UP = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted in a window."""

    answers: int
    """Those in time."""
    late: int
    """Those that ran out of time inside; the backend works on them all the same."""
    seconds: float
    inside: int
    """The most that were inside."""
    pressed: bool
    """Whether the limit held somebody back all the time: only then is its pace the limit's."""

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
    open_at: float = 0.0
    """Not before then is more let in unasked."""

    @staticmethod
    def of(places: int) -> "Limit":
        """Open to the full: whatever is learnt, it is never worse than no limit at all."""
        return Limit(places, places, places)

    def is_due(self, ended: int, late: int) -> bool:
        """Whether `next_limit` wants to be asked after so many ends of requests, `late` of them too late."""
        if self.settling:
            return ended >= 2 * self.now
        if late >= ENOUGH_LATE and late > LATE * ended:
            return True
        return ended >= max(ROUNDS * self.now, LEAST_ANSWERS)

    def is_lost(self, answers: int, seconds: float) -> bool:
        """Whether the step down that is tried plainly gives fewer answers, in a window that is pressed. Then
        `next_limit` is to be asked at once, as if none had been late."""
        if self.trial is not Trial.DOWN or self.settling:
            return False
        return answers >= max(ROUNDS * self.now, PLAIN_ANSWERS) and answers < PLAINLY * self.best * seconds


def next_limit(limit: Limit, sample: Sample, now: float, dice: float) -> Limit:
    """After one window. `now` is seconds of a clock that only goes forward, `dice` is between 0 and 1."""
    look_at = now + LOOK_SECONDS * (1.0 + LOOK_JITTER * dice)
    if limit.settling:
        return replace(limit, settling=False)
    if sample.late > LATE * (sample.answers + sample.late):
        base = max(1, min(limit.now, sample.inside) // 2)
        cut = replace(limit, now=base, base=base, trial=Trial.NONE, settling=True)
        return replace(cut, pace=0.0, best=0.0, look_at=look_at, open_at=look_at)
    if not sample.pressed:
        return _opened(limit) if now >= limit.open_at else limit
    if limit.trial is Trial.NONE:
        return _hold(limit, sample.pace, now)
    return _judged(limit, sample.pace, look_at)


def broken_off(limit: Limit) -> Limit:
    """After a failure, which spoils the pace: a trial ends untold, or under failures that go on what is being
    tried would be in force for as long as they do."""
    if limit.trial is Trial.NONE:
        return limit
    return replace(limit, now=limit.base, trial=Trial.NONE, settling=True)


def resized(limit: Limit, places: int) -> Limit:
    """With another bound. What was learnt under the old one is kept where it still fits."""
    if places == limit.places:
        return limit
    if limit.base == limit.places or limit.base > places:
        return Limit.of(places)
    return replace(limit, places=places, now=limit.base, trial=Trial.NONE, settling=False)


def _opened(limit: Limit) -> Limit:
    """One that does not bind is no use, and may be what keeps the queue too short to fill it: a step up,
    and what is known of the backend stays."""
    base = min(limit.places, limit.base * 2)
    return replace(limit, now=base, base=base, pace=max(limit.pace, limit.best), trial=Trial.NONE)


def _hold(limit: Limit, pace: float, now: float) -> Limit:
    known = limit.pace
    if not known and now < limit.look_at:
        return replace(limit, pace=pace, best=pace)
    if abs(pace - known) > CHANGED * known:
        return _looking(replace(limit, pace=pace, best=pace))
    known += SMOOTHING * (pace - known)
    same = replace(limit, pace=known, best=max(limit.best, known))
    if now >= limit.look_at:
        return _looking(same)
    # What was good enough for a window may not be for long: answers may be on their way for longer today.
    return _try(same, Trial.UP) if known < KEPT * limit.best else same


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
    # Nor does the best come back where more does not bring it.
    best = limit.best if down else limit.pace
    return replace(limit, now=limit.base, best=best, trial=Trial.NONE, settling=True, look_at=look_at)
