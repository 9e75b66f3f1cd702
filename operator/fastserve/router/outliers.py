"""Which replicas of a sub-model are left out for a while, by how they answered this router's calls. Pure.

    in ──fails, or is much slower than the others──▶ out ──time is up──▶ on trial ──answers well──▶ in
                                                      ▲──────────fails again──────┘

Triton's own health endpoints stay green while its model is dead, so only an inference brings one back.
Each router judges for itself; nothing is agreed on between them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

STREAK = 5
"""Failures in a row that are enough (Envoy's outlier detection)."""
MADE_UP = 2.0 / 3.0
"""Of a failure, by a good answer. Where half of the requests fail, 25 are enough; where less than two fifths
do, none are: the cumulative sum of Page (1954), for a share of .5 against one of .3. It needs no window: it
is as quick as requests come."""
MIN_REQUESTS = 5
"""Below this latencies say nothing."""
SLOWER = 5.0
"""Times the median of the others."""
SLOWER_BY_SECONDS = 0.025
"""Less than this is the way over the network and not the replica."""
WINDOW_SECONDS = 10.0
"""Latencies are compared over so long."""
MAX_SAMPLES = 64
BASE_SECONDS, MOST_SECONDS = 5.0, 60.0
"""Out for so long the first time, and so much longer each time after (Envoy has 30 s and 300 s, but brings a
host back without a trial)."""
FORGIVEN_SECONDS = 10.0
"""In good standing for so long, one earlier ejection is forgotten."""
TRIALS = 2
"""Good answers in a row that bring one back: one alone is a coin's throw for a replica that fails half."""
TRIAL_PAUSE_SECONDS = 1.0
"""After a trial that told nothing, the least until the next one: every trial is somebody's call."""
FADE_SECONDS = 1.0
"""A number that a replica told so long ago counts half."""
WEIGHT = 0.2
"""Of the newest sample in a moving average."""
BLAMED, COMPARED_WEIGHT = 0.5, 0.3
"""Of its refusals that others answered, as a moving average: two in a row are enough to blame it."""


class Fault(StrEnum):
    FAILS = "Failures"
    SLOW = "Slow"
    TRIAL = "TrialFailed"


@dataclass(frozen=True, slots=True)
class Ejected:
    """`since` and `until` are in the seconds of `now`; `limit` is the slowest answer that a trial may give,
    infinite where slowness was not the fault; `times` counts ejections that are not yet forgiven."""

    fault: Fault
    since: float
    until: float
    limit: float
    times: int


class Conduct:
    """How one replica behaved lately, as one router saw it. Every method takes `now`, in seconds of a clock
    that only goes forward."""

    def __init__(self) -> None:
        self.ejected: Ejected | None = None
        self.on_trial = False
        """Whether a trial is under way."""
        self.service = 0.0
        """Moving average of seconds from asking to the answer, less the wait that the replica told."""
        self._good_trials = 0
        self._failures = 0.0
        self._blame = 0.0
        self._seconds: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)
        self._queue, self._queue_at = 0.0, 0.0
        self._times, self._returned = 0, 0.0

    # What happened.

    def answered(self, now: float, service: float, waited: float) -> None:
        """An answer came: `waited` seconds in the replica's queue, and `service` for all the rest."""
        self._failures = max(0.0, self._failures - MADE_UP)
        self._seconds.append((now, service))
        self.service += WEIGHT * (service - self.service) if self.service else service
        self._queue = self.queue(now) * (1.0 - WEIGHT) + waited * WEIGHT
        self._queue_at = now
        if self.ejected is not None:
            self._tried(now, good=service <= self.ejected.limit)

    def failed(self, now: float) -> None:
        """An error of the replica's came, or nobody answered; that it has no room is none."""
        # No more than is enough: after an outage of all, in which nobody could be left out, it would take as
        # long until a good one is not.
        self._failures = min(float(STREAK), self._failures + 1.0)
        if self.ejected is not None:
            self._tried(now, good=False)

    def unanswered(self, now: float, seconds: float) -> None:
        """The caller went, or time was up, after `seconds`: it would have taken at least so long."""
        if seconds > self.service:
            self._seconds.append((now, seconds))
        if self.ejected is not None and seconds > self.ejected.limit:
            self._tried(now, good=False)
        self._undecided(now, seconds)

    def refused(self, now: float) -> None:
        """Its model ran and said no. That is its fault where others answered what it refused lately; until
        they did it may be the request's, and tells nothing."""
        if self._blame < BLAMED:
            self._undecided(now, 0.0)
        else:
            self.failed(now)

    def compared(self, *, others_answer: bool) -> None:
        """Another replica was asked what this one refused."""
        self._blame += COMPARED_WEIGHT * (float(others_answer) - self._blame)
        if not others_answer:
            self._failures = max(0.0, self._failures - 1.0)

    def excused(self, now: float, wait: float) -> None:
        """It had no room, and told that there is some in `wait` seconds, or it takes nothing now by its own
        word; how it answers is not told."""
        self._queue, self._queue_at = max(self.queue(now), wait), now
        self._undecided(now, 0.0)

    # What follows.

    def queue(self, now: float) -> float:
        """Seconds that a call waits there, by what its answers told; an old word counts less and less."""
        if not self._queue:
            return 0.0
        return float(self._queue * 0.5 ** ((now - self._queue_at) / FADE_SECONDS))

    def trial_due(self, now: float) -> bool:
        return self.ejected is not None and not self.on_trial and now >= self.ejected.until

    def fault(self, now: float, usual: float | None) -> Fault | None:
        """Why it should be left out; `usual` is the median of the others' seconds, where it is known."""
        if self._failures >= STREAK:
            return Fault.FAILS
        own = self.typical(now)
        return Fault.SLOW if own is not None and usual is not None and own > slow_limit(usual) else None

    def typical(self, now: float) -> float | None:
        """Median seconds of the window's answers; None where they are too few."""
        while self._seconds and now - self._seconds[0][0] > WINDOW_SECONDS:
            self._seconds.popleft()
        if len(self._seconds) < MIN_REQUESTS:
            return None
        return median(seconds for _, seconds in self._seconds)

    def eject(self, fault: Fault, now: float, usual: float | None) -> None:
        """Leave it out, each time for longer."""
        forgiven = int((now - self._returned) / FORGIVEN_SECONDS)
        times = max(0, self._times - forgiven) + 1
        limit = slow_limit(usual) if usual is not None else float("inf")
        self._leave_out(Ejected(fault, now, now + seconds_out(times), limit, times))

    def pardon(self, now: float) -> None:
        """Back in, as if nothing had happened lately."""
        self._times = self.ejected.times if self.ejected else self._times
        self._returned = now
        self.ejected, self.on_trial, self._good_trials, self._failures = None, False, 0, 0.0
        self._seconds.clear()
        self.service = 0.0

    def _tried(self, now: float, *, good: bool) -> None:
        """An answer of one that is out. Those that were asked before it was count as trials only where they
        came after the time was up."""
        out = self.ejected
        if out is None or (not self.on_trial and now < out.until):
            return
        self.on_trial = False
        if not good:
            times = out.times + 1
            self._leave_out(Ejected(Fault.TRIAL, out.since, now + seconds_out(times), out.limit, times))
            return
        self._good_trials += 1
        if self._good_trials >= TRIALS:
            self.pardon(now)

    def _undecided(self, now: float, seconds: float) -> None:
        """A trial that was under way told nothing in `seconds`; the next one waits for as long."""
        if self.ejected is not None and self.on_trial:
            until = max(self.ejected.until, now + max(TRIAL_PAUSE_SECONDS, seconds))
            self.ejected = replace(self.ejected, until=until)
        self.on_trial = False

    def _leave_out(self, ejected: Ejected) -> None:
        self.ejected, self.on_trial, self._good_trials = ejected, False, 0


def slow_limit(usual: float) -> float:
    """Seconds above which a replica is slow where the others take `usual`."""
    return max(SLOWER * usual, usual + SLOWER_BY_SECONDS)


def seconds_out(times: int) -> float:
    return min(MOST_SECONDS, BASE_SECONDS * times)


def judge(replicas: Sequence[Conduct], max_share: float, now: float) -> list[tuple[Conduct, Fault]]:
    """Eject who should be among all replicas of one sub-model, and bring back who no longer may be out; whom
    it ejected. Never more than `max_share` of them are out."""
    room = int(max_share * len(replicas) + 1e-9)
    out = sorted((one for one in replicas if one.ejected), key=_since)
    for one in out[: max(0, len(out) - room)]:
        one.pardon(now)
    found: list[tuple[Conduct, Fault]] = []
    typical = {id(one): one.typical(now) for one in replicas if one.ejected is None}
    for one in replicas:
        if one.ejected is not None or len(out) + len(found) >= room:
            continue
        others = [value for key, value in typical.items() if key != id(one) and value is not None]
        usual = median(others) if others else None
        fault = one.fault(now, usual)
        if fault is not None:
            one.eject(fault, now, usual)
            found.append((one, fault))
    return found


def _since(one: Conduct) -> float:
    return one.ejected.since if one.ejected else 0.0
