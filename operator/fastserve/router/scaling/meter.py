"""What this router measures of the pool's load: a row for each sub-model and ROW_SECONDS.

Requests are counted in plain numbers that only grow, or begin anew with each row; a row is what they became
meanwhile. So the way of a request bears a few additions and nothing else.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, TOLD_SECONDS, LoadReport, LoadRow


@dataclass(frozen=True, slots=True)
class GateLoad:
    """What a gate counted since the router started, and how it is now."""

    arrivals: int
    answered: int
    busy_seconds: float
    waits: tuple[int, ...]
    waiting: int
    limit: int
    pace: float


class Counted(Protocol):
    """This router's own place of a sub-model."""

    member: str

    def load(self) -> GateLoad: ...

    @property
    def first_served(self) -> float:
        """When it first answered, in the loop's time; 0 where it did not yet."""
        ...


@dataclass(slots=True)
class DoorLoad:
    """What this router's doors have to do with one sub-model: of this row `arrivals` and `sent` (requests by
    the instance that they went to), and how many are `held` now. `past` are the arrivals before. A request of
    many texts counts as often as it takes a place at the gate, as it does there."""

    arrivals: int = 0
    held: int = 0
    past: int = 0
    sent: dict[str, int] = field(default_factory=dict)

    def send(self, instance: str, places: int) -> None:
        """A request that takes so many places at the gate goes to a replica."""
        self.sent[instance] = self.sent.get(instance, 0) + places


class Meter:
    """Rows of the last HISTORY_SECONDS. `clock` is Unix time, which all routers of a pool share; `own` is
    this router's own place, where it has one."""

    def __init__(self, clock: Callable[[], float] = time.time, own: Counted | None = None) -> None:
        self.own = own
        self.doors: dict[str, DoorLoad] = {}
        self._clock = clock
        self._started = time.monotonic()
        self._at = _begin(clock())
        self._before: GateLoad | None = None
        self._rows: deque[LoadRow] = deque()

    def door(self, member: str) -> DoorLoad:
        """Where a door counts what is for this sub-model."""
        load = self.doors.get(member)
        if load is None:
            load = self.doors[member] = DoorLoad()
        return load

    def keep(self, members: Iterable[str]) -> None:
        """Forget the sub-models that there are no more."""
        known = set(members)
        self.doors = {name: load for name, load in self.doors.items() if name in known or load.held}

    async def run(self) -> None:
        """Close each row when it is over, for ever."""
        while True:
            self.tick()
            await asyncio.sleep(min(ROW_SECONDS, self._at + ROW_SECONDS - self._clock()))

    def tick(self) -> None:
        """Close the row that is over, if it is. Where the clock was put back, what lies ahead is dropped."""
        now = _begin(self._clock())
        if now == self._at and self._before is not None:
            return
        load = self.own.load() if self.own is not None else None
        if now != self._at:
            self._close(load)
        self._at, self._before = now, load
        while self._rows and self._rows[0].at < now - HISTORY_SECONDS:
            self._rows.popleft()
        while self._rows and self._rows[-1].at >= now:
            self._rows.pop()

    def report(
        self,
        instance: str,
        *,
        ready: bool = False,
        load_seconds: float = 0.0,
        seconds: float = TOLD_SECONDS,
    ) -> LoadReport:
        """The rows of the last so many seconds; of the row that is under way only what is held is told."""
        self.tick()
        load, now = self.own.load() if self.own is not None else None, self._clock()
        return LoadReport(
            instance=instance,
            member=self.own.member if self.own is not None else None,
            now=now,
            ready=ready,
            load_seconds=max(load_seconds, self.first_load),
            limit=load.limit if load else 0,
            pace=load.pace if load else 0.0,
            held={name: door.held for name, door in self.doors.items() if door.held},
            rows=tuple(row for row in self._rows if row.at + ROW_SECONDS > now - _told(row, seconds)),
        )

    @property
    def first_load(self) -> float:
        """Seconds from the start of this router to its first version that answered; 0 before."""
        first = self.own.first_served if self.own is not None else 0.0
        return max(0.0, first - self._started) if first else 0.0

    def _close(self, load: GateLoad | None) -> None:
        if self.own is not None and load is not None and self._before is not None:
            self._rows.append(_own_row(self._at, self.own.member, self._before, load))
        for member, door in self.doors.items():
            if door.arrivals or door.sent or door.held:
                self._rows.append(_door_row(self._at, member, door))
            door.past += door.arrivals
            door.arrivals, door.sent = 0, {}


def _told(row: LoadRow, seconds: float) -> float:
    """For how long a row is told. What doors sent is compared with what came, of late; a history of it would
    be of no use, and grow with the square of the pool."""
    return seconds if row.own else min(seconds, TOLD_SECONDS)


def _begin(now: float) -> int:
    """Begin of the row that a moment lies in."""
    return int(now // ROW_SECONDS) * ROW_SECONDS


def _own_row(at: int, member: str, before: GateLoad, load: GateLoad) -> LoadRow:
    return LoadRow(
        at=at,
        member=member,
        own=True,
        arrivals=load.arrivals - before.arrivals,
        answered=load.answered - before.answered,
        busy_seconds=round(max(0.0, load.busy_seconds - before.busy_seconds), 6),
        waiting=load.waiting,
        waits=tuple(now - then for now, then in zip(load.waits, before.waits, strict=True)),
    )


def _door_row(at: int, member: str, door: DoorLoad) -> LoadRow:
    return LoadRow(
        at=at, member=member, own=False, arrivals=door.arrivals, waiting=door.held, sent=dict(door.sent)
    )
