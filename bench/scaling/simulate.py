"""A discrete-event simulation of one sub-model's replicas behind doors, scaled by whoever is asked.

A request goes to the replica with fewer under way of two drawn at random, waits there for one of `limit`
places inside Triton, and in Triton for its batch to begin: that is its wait. Without a ready replica doors
hold it, which counts as waiting. Replicas take a while to load, are paid for from the moment that they are
asked for, and finish what they have before they go.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, cycle
from random import Random
from statistics import median_low

from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, WAIT_BOUNDS
from fastserve.router.admission.pace import Pace
from fastserve.scaling.samples import BUCKETS, Sample

STANDING_SECONDS, STANDING_ROUNDS, STANDING_ROOM = 0.1, 2.0, 8
"""As router/admission/forecast.py tells a queue that stands."""
HISTORY_SLOTS = HISTORY_SECONDS // ROW_SECONDS
SETTLE_SECONDS = 120.0
"""What has not begun so long after the last arrival is lost."""
BIN_SECONDS = 10.0


@dataclass(frozen=True)
class Service:
    """What one replica does. `seconds` are measured times of a batch, one of which is drawn for each."""

    batch: int
    limit: int
    seconds: tuple[float, ...]
    max_queue: int = 256
    hold_room: int = 512
    """Requests that all doors together hold."""

    @property
    def pace(self) -> float:
        """Requests per second at the most."""
        return self.batch * len(self.seconds) / sum(self.seconds)

    @property
    def usual(self) -> float:
        """Seconds that an inference takes while every place is taken."""
        return self.limit / self.pace


@dataclass(frozen=True)
class Terms:
    """Under what a run is made. What comes before `judged_from` only fills the histories."""

    service: Service
    loads: tuple[float, ...]
    """Measured seconds from asking for a replica until it is ready, one of which is drawn for each."""
    in_order: bool = False
    """They are taken one after the other, and from the first again."""
    least: int = 1
    most: int = 20
    start: int = 1
    """Replicas that are ready at the beginning."""
    judged_from: float = 0.0
    until: float = 0.0
    """The end of the trace."""
    target: float = 0.1
    seed: int = 0
    linger: float = 0.0
    """Seconds from when a replica is to leave until it is gone, where it has nothing to do."""


@dataclass(slots=True)
class Second:
    """Sums over one second, as whoever scrapes might see them."""

    arrivals: int = 0
    in_flight: float = 0.0
    """Requests in gates, in Triton and held, on average."""
    waiting: float = 0.0
    """Those of them that are not in Triton, on average."""
    inside: float = 0.0
    """Those in Triton."""
    computing: float = 0.0
    """Replicas that compute, on average."""
    served: float = 0.0
    """Requests that they compute, on average."""
    ready: float = 0.0


@dataclass
class View:
    """All that a scaler may look at."""

    now: float = 0.0
    replicas: int = 0
    """That were asked for."""
    ready: int = 0
    starting: int = 0
    in_flight: int = 0
    held: int = 0
    pace: float = 0.0
    load_seconds: float = 0.0
    limit: int = 0
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=HISTORY_SLOTS))
    seconds: deque[Second] = field(default_factory=lambda: deque(maxlen=HISTORY_SECONDS))

    def last(self, seconds: int) -> list[Second]:
        """The last so many seconds, or as many as there are."""
        begin = max(0, len(self.seconds) - seconds)
        return [self.seconds[i] for i in range(begin, len(self.seconds))]


class Scaler:
    """Who says how many replicas there are to be, every `period` whole seconds."""

    period = 2
    wakes = False
    """Whether the first held request wakes a sleeper at once."""

    def step(self, view: View) -> int:
        """How many there are to be."""
        raise NotImplementedError


class Replica:
    """One of them: what waits in its gate and in Triton's queue (when it came, and when to this replica)."""

    __slots__ = (
        "computing",
        "gate",
        "inside",
        "leaving",
        "lingers",
        "moved_at",
        "pace",
        "queue",
        "ready",
        "stands_since",
        "total",
    )

    def __init__(self) -> None:
        self.gate: deque[tuple[float, float]] = deque()
        self.queue: deque[tuple[float, float]] = deque()
        self.pace = Pace()
        self.inside = self.total = self.computing = 0
        self.moved_at = self.stands_since = 0.0
        self.leaving = self.lingers = False


@dataclass
class Bin:
    """BIN_SECONDS of the timeline."""

    at: float
    arrivals: int = 0
    replica_seconds: float = 0.0
    ready_seconds: float = 0.0
    waits: list[float] = field(default_factory=list)


@dataclass
class Run:
    """What became of a trace. Of requests and replicas from `judged_from` on."""

    waits: list[float] = field(default_factory=list)
    held: int = 0
    lost: int = 0
    replica_seconds: float = 0.0
    changes: list[tuple[float, int]] = field(default_factory=list)
    """When how many were asked for."""
    bins: list[Bin] = field(default_factory=list)
    pace: float = 0.0


class Simulation:
    """One trace under one scaler."""

    def __init__(self, arrivals: Sequence[float], scaler: Scaler, terms: Terms, *, pace: float = 0.0) -> None:
        self._arrivals, self._scaler, self._terms = arrivals, scaler, terms
        self._dice = Random(terms.seed)
        self._events: list[tuple[float, int, Callable[[Replica, float], None], Replica]] = []
        self._order = count()
        self._loads = cycle(terms.loads) if terms.in_order else self._drawn()
        self._ready: list[Replica] = []
        self._starting: list[Replica] = []
        self._alive = 0
        self._held: deque[float] = deque()
        self._view = View(pace=pace, limit=terms.service.limit)
        self._run = Run()
        self._now = self._bin_end = 0.0
        self._inside = self._total = self._computing = self._served = 0
        self._second = Second()
        self._slot = [0.0] * (3 + BUCKETS)
        """Of the slot that is under way: begin, arrivals, busy seconds; then waits."""
        self._bin = Bin(0.0)

    def run(self) -> Run:
        """To the end, and a while longer for what waits."""
        for _ in range(self._terms.start):
            self._begin(0.0, 0.0)
        self._view.replicas = self._terms.start
        self._later(1.0, self._tick, Replica())
        events, arrive = self._events, self._arrive
        for at in self._arrivals:
            while events[0][0] <= at:
                self._pass()
            arrive(at)
        while events and events[0][0] <= self._terms.until + SETTLE_SECONDS:
            self._pass()
        self._run.lost += len(self._held) + sum(len(one.queue) + len(one.gate) for one in self._ready)
        self._run.pace = self._view.pace
        return self._run

    def _pass(self) -> None:
        now, _, what, replica = heappop(self._events)
        what(replica, now)

    def _later(self, at: float, what: Callable[[Replica, float], None], replica: Replica) -> None:
        heappush(self._events, (at, next(self._order), what, replica))

    def _advance(self, now: float) -> None:
        """Add up what was so since the last event."""
        passed, second = now - self._now, self._second
        second.inside += passed * self._inside
        second.in_flight += passed * self._total
        second.computing += passed * self._computing
        second.served += passed * self._served
        self._now = now

    def _arrive(self, now: float) -> None:
        self._advance(now)
        self._second.arrivals += 1
        if self._ready:
            self._send(now, now)
            return
        if len(self._held) >= self._terms.service.hold_room:
            self._run.lost += now >= self._terms.judged_from
            return
        self._held.append(now)
        self._total += 1
        self._run.held += now >= self._terms.judged_from
        if self._scaler.wakes and not self._view.replicas:
            self._ask(1, now)

    def _send(self, came: float, now: float) -> None:
        """To the less busy one of two, as router/picking.py draws them."""
        ready, dice = self._ready, self._dice.random
        number = len(ready)
        chosen = ready[0]
        if number > 1:
            one, two = int(dice() * number), int(dice() * (number - 1))
            chosen, other = ready[one], ready[two + (two >= one)]
            if other.total < chosen.total:
                chosen = other
        service = self._terms.service
        if chosen.inside < service.limit:
            chosen.inside += 1
            self._inside += 1
            chosen.queue.append((came, now))
        elif self._has_room(chosen, now):
            if not chosen.gate:
                chosen.pace.begin(now, service.usual)
            chosen.gate.append((came, now))
        else:
            self._run.lost += came >= self._terms.judged_from
            return
        chosen.total += 1
        self._total += 1
        if not chosen.computing:
            self._compute(chosen, now)

    def _has_room(self, replica: Replica, now: float) -> bool:
        """A queue that stands is kept short, as router/admission does, where no more replicas come."""
        service, waiting = self._terms.service, len(replica.gate)
        if self._view.replicas < self._terms.most or self._starting:
            return waiting < service.max_queue
        if not waiting and now - replica.moved_at > service.usual:
            replica.stands_since = now
        standing = max(STANDING_SECONDS, STANDING_ROUNDS * service.usual)
        if waiting and now - replica.stands_since > standing:
            return waiting < min(service.max_queue, max(service.limit, STANDING_ROOM))
        return waiting < service.max_queue

    def _compute(self, replica: Replica, now: float) -> None:
        """The next batch begins."""
        service, queue = self._terms.service, replica.queue
        number = replica.computing = min(service.batch, len(queue))
        self._computing += 1
        self._served += number
        judged, waits, binned = self._terms.judged_from, self._run.waits, self._bin.waits
        for _ in range(number):
            came, here = queue.popleft()
            self._slot[3 + _bucket(now - here)] += 1
            if came >= judged:
                waits.append(now - came)
                binned.append(now - came)
        seconds = service.seconds[int(self._dice.random() * len(service.seconds))]
        self._later(now + seconds, self._answer, replica)

    def _answer(self, replica: Replica, now: float) -> None:
        """A batch ends, and as many more are let in."""
        self._advance(now)
        number, replica.computing = replica.computing, 0
        self._computing -= 1
        self._served -= number
        replica.inside -= number
        replica.total -= number
        self._inside -= number
        self._total -= number
        gate, limit = replica.gate, self._terms.service.limit
        for _ in range(number if gate else 0):
            replica.pace.answered(now)
        while gate and replica.inside < limit:
            replica.queue.append(gate.popleft())
            replica.moved_at = now
            replica.inside += 1
            self._inside += 1
        if replica.queue:
            self._compute(replica, now)
        elif replica.leaving and not replica.lingers:
            self._alive -= 1

    def _begin(self, now: float, load: float) -> None:
        replica = Replica()
        self._alive += 1
        self._starting.append(replica)
        if not load:
            self._loaded(replica, now)
            return
        self._view.load_seconds = self._view.load_seconds or load
        self._later(now + load, self._loaded, replica)

    def _loaded(self, replica: Replica, now: float) -> None:
        if replica.leaving:
            return
        self._advance(now)
        self._starting.remove(replica)
        self._ready.append(replica)
        if self._held:
            held, self._held = self._held, deque()
            self._total -= len(held)
            for came in held:
                self._send(came, now)

    def _ask(self, replicas: int, now: float) -> None:
        view = self._view
        if replicas == view.replicas:
            return
        change = replicas - view.replicas
        for _ in range(change):
            self._begin(now, next(self._loads))
        for _ in range(-change):
            self._leave(now)
        view.replicas = replicas
        self._run.changes.append((now, replicas))

    def _drawn(self) -> Iterator[float]:
        while True:
            yield self._terms.loads[int(self._dice.random() * len(self._terms.loads))]

    def _leave(self, now: float) -> None:
        """What is not ready goes first, then the youngest, as with a ReplicaSet."""
        replica = (self._starting or self._ready).pop()
        replica.leaving = replica.lingers = True
        self._later(now + self._terms.linger, self._lingered, replica)

    def _lingered(self, replica: Replica, _now: float) -> None:
        replica.lingers = False
        if not replica.total:
            self._alive -= 1

    def _tick(self, replica: Replica, now: float) -> None:
        """A second is over."""
        self._advance(now)
        second, view = self._second, self._view
        second.waiting = second.in_flight - second.inside
        second.ready = float(len(self._ready))
        view.seconds.append(second)
        view.now, view.ready, view.starting = now, len(self._ready), len(self._starting)
        view.in_flight, view.held = self._total, len(self._held)
        self._slot[1] += second.arrivals
        self._slot[2] += second.served
        if now % ROW_SECONDS == 0:
            self._close_slot(now)
        self._bill(now, second)
        self._second = Second()
        if now % self._scaler.period == 0 and now <= self._terms.until:
            terms = self._terms
            self._ask(min(terms.most, max(terms.least, self._scaler.step(view))), now)
        self._later(now + 1.0, self._tick, replica)

    def _close_slot(self, now: float) -> None:
        begin, arrivals, busy, *waits = self._slot
        self._view.pace = self._pace() or self._view.pace
        waiting = float(self._total - self._served - len(self._held))
        self._view.samples.append(
            Sample(begin, arrivals, arrivals, busy_seconds=busy, waiting=waiting, waits=tuple(waits))
        )
        self._slot = [now] + [0.0] * (2 + BUCKETS)

    def _pace(self) -> float:
        """What the middle one of the ready replicas has learnt; 0 where none has."""
        service = self._terms.service
        for one in self._ready:
            one.pace.learn(service.usual)
        learnt = (one.pace.per_second(service.limit) for one in self._ready)
        return median_low([one for one in learnt if one] or [0.0])

    def _bill(self, now: float, second: Second) -> None:
        """What is paid for, second by second."""
        if not self._terms.judged_from < now <= self._terms.until:
            return
        self._run.replica_seconds += self._alive
        self._bin.arrivals += second.arrivals
        self._bin.replica_seconds += self._alive
        self._bin.ready_seconds += len(self._ready)
        if now % BIN_SECONDS == 0:
            self._run.bins.append(self._bin)
            self._bin = Bin(now)


def _bucket(seconds: float) -> int:
    for i, bound in enumerate(WAIT_BOUNDS):
        if seconds <= bound:
            return i
    return BUCKETS - 1
