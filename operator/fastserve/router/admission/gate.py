"""The gate before this router's own Triton, where coroutines wait for a place."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

import numpy as np

from fastserve.errors import BackendError, BackendOverloaded, BackendTimeout
from fastserve.router.admission.concurrency import Limit, Sample, broken_off, next_limit, resized
from fastserve.router.admission.fairness import FairQueue, Ticket
from fastserve.router.admission.forecast import STANDING_ROOM, Forecast
from fastserve.router.admission.pace import Pace
from fastserve.router.caller import Caller, Priority

WINDOW_SECONDS = 60.0
MOST_SAMPLES = 4096
_draw = np.random.default_rng()


class Shed(StrEnum):
    """Why a request was not let in."""

    QUEUE_FULL = "QueueFull"
    """As many wait as may."""
    STANDING = "Standing"
    """The queue has stood for a while: it is kept short then."""
    TOO_LATE = "TooLate"
    """The forecast is later than its deadline."""
    PUSHED_OUT = "PushedOut"
    """It waited, and another one had more right to its room."""
    EXPIRED = "Expired"
    """Its deadline passed while it waited."""
    NO_TIME = "NoTime"
    """Its turn came, with less time left than an inference takes."""


class End(Enum):
    """What became of a request that was let in."""

    ANSWERED = auto()
    LATE = auto()
    """No answer by its deadline, or Triton's own queue was full."""
    FAILED = auto()
    ABANDONED = auto()
    """Who asked has gone, or there was nothing to ask."""


@dataclass(frozen=True, slots=True)
class WaitSummary:
    """Seconds waited over the last minute."""

    p50: float = 0.0
    p95: float = 0.0


@dataclass(eq=False, slots=True)
class Waiter(Ticket):
    """A ticket, and the future of who holds it."""

    place: asyncio.Future[None]


@dataclass(slots=True)
class _Window:
    """What is counted until the limit is thought over."""

    began: float
    ended: int = 0
    answers: int = 0
    late: int = 0
    inside: int = 0
    pressed: bool = True


class Gate:
    """At most `limit` requests are inside at once, at most `max_waiting` wait; who does not fit is told at
    once. `on_shed` is called for each that is not let in.

    Whoever was let in by `take` or `wait` must call `leave`, once.
    """

    def __init__(self, places: int, max_waiting: int, on_shed: Callable[[Shed, Priority], None]) -> None:
        self.max_waiting = max_waiting
        self.relief: Callable[[], bool] = lambda: False
        """Whether more replicas come: who waits in a queue that stands waits for these, and is not refused
        while its deadline allows that."""
        self.in_flight = 0
        self.limit = places
        """In force now; between 1 and `places`."""
        self.arrivals = 0
        """Requests that came, also those that were not let in."""
        self.answered = 0
        self.pace = Pace()
        self._limit = Limit.of(places)
        self._on_shed = on_shed
        self._queue: FairQueue[Waiter] = FairQueue()
        self._forecast = Forecast()
        self._stands_since = 0.0
        self._moved_at = 0.0
        """When the last one left the queue."""
        self._window = _Window(0.0)
        self._stays = 0.0
        """When those inside came and the others left, summed: minus and plus."""
        self._unbound = 0
        """Ends in windows that were broken off because nobody was inside."""
        self._samples: deque[tuple[float, float]] = deque(maxlen=MOST_SAMPLES)

    @property
    def places(self) -> int:
        """The most that may be inside at once, whatever is learnt."""
        return self._limit.places

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def free(self) -> int:
        """Places that are free now, and that nobody waits for."""
        return max(0, self.limit - self.in_flight - len(self._queue))

    def busy_seconds(self, now: float) -> float:
        """How many were inside, summed over time."""
        return self._stays + self.in_flight * now

    def learn_pace(self) -> float:
        """Requests answered per second while others wait, by all until now; 0 where too little was seen."""
        self.pace.learn(self._forecast.usual)
        return self.pace.per_second(self.limit)

    def resize(self, places: int, max_waiting: int) -> None:
        """Take over new bounds; who waits keeps the place in the queue."""
        self._limit, self.max_waiting = resized(self._limit, places), max_waiting
        self.limit = self._limit.now
        self._admit(asyncio.get_running_loop().time())

    def take(self, now: float, deadline: float) -> bool:
        """A place at once, where there is one and time enough. With nobody inside there always is, or too
        long an inference could never be found to have become shorter."""
        self.arrivals += 1
        if not self.in_flight:
            self._forecast.moved_at = self._forecast.answered_at = now
            self._rest(now)
        elif (
            self.in_flight >= self.limit
            or self._queue
            or deadline - now < self._forecast.needs(self.in_flight)
        ):
            return False
        self.in_flight += 1
        self._stays -= now
        return True

    async def wait(self, caller: Caller, deadline: float) -> float:
        """Wait for a place until `deadline` (the loop's time), where `take` had none; seconds waited.

        Raises BackendOverloaded at once where there is no room or no hope, or later where another one gets
        the room; BackendTimeout at the deadline, or where too little time is left when the turn comes.
        """
        loop = asyncio.get_running_loop()
        waiter = Waiter(caller, deadline, loop.time(), loop.create_future())
        self._check(waiter)
        self._make_room(waiter)
        if not self._queue and waiter.since - self._moved_at > self._forecast.usual:
            self._stands_since = waiter.since
        if not self._queue:
            self.pace.begin(waiter.since, self._forecast.usual)
        self._queue.add(waiter)
        timer = loop.call_at(deadline, self._expire, waiter)
        try:
            await waiter.place
        except asyncio.CancelledError:
            self._gone(waiter, loop.time())
            raise
        finally:
            timer.cancel()
        return loop.time() - waiter.since

    def leave(self, start: float, now: float, inside: int, end: End) -> None:
        """Give back a place that was taken at `start`, with so many others `inside` then."""
        self.in_flight -= 1
        self._stays += now
        self._forecast.moved_at = now
        if end is End.ANSWERED:
            self.answered += 1
            if self._queue and self._at_base:
                self.pace.answered(now)
            self._forecast.learn(now - start, inside)
            self._forecast.answered_at = now
            self._window.answers += 1
        elif end is End.LATE:
            self._window.late += self._forecast.learn_late(now - start, inside)
        elif end is End.FAILED:
            self._window = _Window(now)
            self.pace.broken_off(now)
            self._limit = broken_off(self._limit)
            self.limit = self._limit.now
        if self._queue:
            self._admit(now)
        self._count(now)

    def tells(self, seconds: float, inside: int) -> bool:
        """Whether it says something of an inference that it got no answer in `seconds`, with so many others
        `inside` when it began. While nothing was seen yet nothing does."""
        return self._forecast.usual > 0.0 and seconds >= self._forecast.takes(inside)

    def has_time(self, now: float, deadline: float) -> bool:
        """Whether an inference that began now would end by its deadline."""
        return deadline - now > self._forecast.needs(self.in_flight)

    def sample(self, now: float, waited: float) -> None:
        self._samples.append((now, waited))

    def summary(self, now: float) -> WaitSummary:
        """Percentiles over the last minute."""
        while self._samples and now - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()
        waits = sorted(waited for _, waited in self._samples)
        if not waits:
            return WaitSummary()
        return WaitSummary(waits[len(waits) // 2], waits[min(len(waits) - 1, int(len(waits) * 0.95))])

    def _check(self, waiter: Waiter) -> None:
        """Raises BackendOverloaded where the deadline will pass before the answer."""
        forecast, now = self._forecast, waiter.since
        busy = self._queue or self.in_flight >= self.limit
        wait = forecast.wait(self._queue.ahead(waiter.caller), self.limit, now) if busy else 0.0
        left, needs = waiter.deadline - now, forecast.needs(self.limit - 1 if busy else self.in_flight)
        if wait + needs <= left:
            return
        self._on_shed(Shed.TOO_LATE, waiter.caller.priority)
        raise BackendOverloaded(
            f"{left:.3f} s are left, and a place would come in {wait:.3f} s for an inference of"
            f" {needs:.3f} s",
            wait,
        )

    def _make_room(self, waiter: Waiter) -> None:
        """Raises BackendOverloaded where there is none, and nobody to give way."""
        waiting, room = len(self._queue), self.max_waiting
        stands = self._forecast.stands(waiter.since - self._stands_since, waiter.since)
        if waiting and stands and not self.relief():
            room = min(room, max(self.limit, STANDING_ROOM))
        if waiting < room:
            return
        victim = self._queue.outranked(waiter.caller, room)
        if victim is None:
            self._on_shed(
                Shed.QUEUE_FULL if room == self.max_waiting else Shed.STANDING, waiter.caller.priority
            )
            raise self._no_room(f"{self.in_flight} requests run and {waiting} wait", waiter.since)
        self._queue.remove(victim)
        self._on_shed(Shed.PUSHED_OUT, victim.caller.priority)
        _fail(victim, self._no_room("it waited, and made room for another one", waiter.since))

    def _no_room(self, why: str, now: float) -> BackendOverloaded:
        wait = self._forecast.wait(len(self._queue), self.limit, now)
        return BackendOverloaded(f"{why} (router.limits.maxQueue is {self.max_waiting})", wait)

    def _admit(self, now: float) -> None:
        """Whose turn it is, as long as there are places. No work is begun that will come too late."""
        while self.in_flight < self.limit:
            waiter = self._queue.next()
            if waiter is None:
                return
            self._moved_at = now
            left = waiter.deadline - now
            if waiter.place.done():
                continue  # it was cancelled a moment ago, and its coroutine did not run since
            needs = self._forecast.needs(self.in_flight) if self.in_flight else 0.0
            if left < needs:
                self._on_shed(Shed.NO_TIME, waiter.caller.priority)
                why = f"{left:.3f} s were left for an inference of {needs:.3f} s"
                waiter.place.set_exception(BackendTimeout(why))
            else:
                self.in_flight += 1
                self._stays -= now
                waiter.place.set_result(None)

    def _expire(self, waiter: Waiter) -> None:
        if self._queue.remove(waiter):
            self._moved_at = waiter.deadline
            self._on_shed(Shed.EXPIRED, waiter.caller.priority)
            _fail(waiter, BackendTimeout("the deadline passed while the request waited for a place"))

    def _gone(self, waiter: Waiter, now: float) -> None:
        """Who stops waiting leaves the queue, or gives back the place that was just given."""
        place = waiter.place
        if self._queue.remove(waiter):
            self._moved_at = now
        elif place.done() and not place.cancelled() and place.exception() is None:
            self.leave(now, now, 0, End.ABANDONED)

    def _count(self, now: float) -> None:
        """One ended; at the end of a window the limit is thought over."""
        window = self._window
        window.ended += 1
        if self.in_flight < self.limit:
            window.pressed = False
        window.inside = max(window.inside, self.in_flight)
        if not self._is_due(window):
            if not (window.pressed and self._limit.is_lost(window.answers, now - window.began)):
                return
            window.late = 0  # of so few answers some that are late do not say that it is too much for Triton
        self._window = _Window(now)
        seconds, pressed = now - window.began, window.pressed
        self._think(Sample(window.answers, window.late, seconds, window.inside, pressed), now)
        self._admit(now)

    def _is_due(self, window: _Window) -> bool:
        """Whether enough was counted to think the limit over."""
        if window.late and self._limit.is_due(window.ended, window.late) and not self._forecast.eases():
            # Fewer inside would be as late, and more would wait: these deadlines are too short for any limit.
            window.late = 0
        return self._limit.is_due(window.ended, window.late)

    def _rest(self, now: float) -> None:
        """Nobody is inside: no pace is measured over a pause. Without this a limit that was found under
        another load would stay for ever under one that pauses more often than windows end."""
        self._unbound += self._window.ended
        self._window = _Window(now)
        if self._limit.is_due(self._unbound, 0):
            self._think(Sample(self._unbound, 0, 0.0, 0, pressed=False), now)

    def _think(self, sample: Sample, now: float) -> None:
        self._unbound, at_base = 0, self._at_base
        self._limit = next_limit(self._limit, sample, now, _draw.random())
        self.limit = self._limit.now
        if at_base != self._at_base:
            self.pace.learn(self._forecast.usual)
            self.pace.broken_off(now)

    @property
    def _at_base(self) -> bool:
        """Whether no other limit is tried, under which fewer might be answered."""
        return self._limit.now == self._limit.base and not self._limit.settling


def _fail(waiter: Waiter, error: BackendError) -> None:
    if not waiter.place.done():
        waiter.place.set_exception(error)
