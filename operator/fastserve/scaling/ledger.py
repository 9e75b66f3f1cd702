"""The books of one pool's load: rows that routers told, by slot, and what they come to together.

What came is in two books: a member's own routers count what came to their gates, and the doors what they
sent to whom. Where they agree either is right. Where they do not, one of the two is wrong, broken or lying:
then there are to be more replicas only for what both say, and fewer only for what neither says.

Rows carry the slot that they are of, so that nothing hangs on when they were read, a router that starts
again resets nothing, and a new reader who asks for the whole history has the same books.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import floor, inf
from statistics import median_low

from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, LoadReport, LoadRow
from fastserve.scaling.samples import BUCKETS, Sample, quantile_of

FRESH_SECONDS = 10.0
"""What a router said of itself counts for so long."""
CHECK_SLOTS = 10
"""The two books are compared over so many slots."""
DIFFERS, DIFFERS_BY = 1.25, 10.0
"""Factor, and requests, by which they must differ to be told apart."""
ODD_WAITS = 5.0
"""How many times longer than in all others requests wait in a replica whose word is not taken."""
ODD_SECONDS = 0.05
LATE_SHARE = 0.95
OPEN_SECONDS = 20.0
"""Slots so much older than the newest, or less, are added up anew each time: a row may come late."""
Rows = dict[tuple[str, bool], LoadRow]
"""Of one slot, by member and whether they are of the member's own router."""


@dataclass
class _Router:
    """One router's rows by slot; `covered` are the slots that it told all of."""

    report: LoadReport
    heard_at: float
    rows: dict[int, Rows] = field(default_factory=dict)
    covered: set[int] = field(default_factory=set)

    def row(self, slot: int, member: str, *, own: bool) -> LoadRow | None:
        return self.rows.get(slot, {}).get((member, own))


@dataclass(frozen=True, slots=True)
class Replicas:
    """What a member's own routers say of themselves: how many take requests, and the middle one's figures."""

    ready: int
    limit: int
    pace: float
    load_seconds: float


class Ledger:
    """All rows of one pool. `expected` are the instances that are to be heard."""

    def __init__(self) -> None:
        self.expected: frozenset[str] = frozenset()
        self._routers: dict[str, _Router] = {}
        self._closed: dict[str, dict[int, Sample]] = {}
        """What was added up of slots that are over, by member."""

    def take(self, report: LoadReport, now: float) -> None:
        """One router's word, heard at `now` (Unix time), and its rows, moved by what its clock is off."""
        self.hear(report, now)
        moved = round((now - report.now) / ROW_SECONDS) * ROW_SECONDS
        ended = floor(report.now / ROW_SECONDS) * ROW_SECONDS
        rows = [row for row in report.rows if row.at < ended]
        shifted = [row.model_copy(update={"at": row.at + moved}) for row in rows] if moved else rows
        if report.member is not None:  # it has a row of its own for every slot, also where nothing came
            self.enter(report.instance, shifted, [row.at for row in shifted if row.own])
            return
        first = min((row.at for row in rows), default=ended - ROW_SECONDS)
        self.enter(report.instance, shifted, range(first + moved, ended + moved, ROW_SECONDS))

    def hear(self, report: LoadReport, now: float) -> None:
        """What one router says of itself; its rows are left aside."""
        router = self._routers.setdefault(report.instance, _Router(report, now))
        router.report, router.heard_at = report, now

    def enter(self, instance: str, rows: Iterable[LoadRow], covered: Iterable[int]) -> None:
        """Rows of a router that was heard, and the slots of which they tell all."""
        router = self._routers[instance]
        for row in rows:
            slot = row.at // ROW_SECONDS * ROW_SECONDS
            router.rows.setdefault(slot, {})[row.member, row.own] = row
        new = set(covered) - router.covered
        router.covered |= new
        if min(new, default=inf) < max(router.covered, default=0) - OPEN_SECONDS:
            self._closed.clear()

    def forget(self, now: float) -> None:
        """Drop what is older than the history."""
        oldest = now - HISTORY_SECONDS - ROW_SECONDS
        for router in self._routers.values():
            router.rows = {slot: rows for slot, rows in router.rows.items() if slot >= oldest}
            router.covered = {slot for slot in router.covered if slot >= oldest}
        self._routers = {
            name: one
            for name, one in self._routers.items()
            if one.covered or now - one.heard_at <= FRESH_SECONDS
        }
        for member, closed in self._closed.items():
            self._closed[member] = {slot: one for slot, one in closed.items() if slot >= oldest}

    def unheard(self, now: float) -> frozenset[str]:
        """Expected routers without a fresh word."""
        fresh = {name for name, one in self._routers.items() if now - one.heard_at <= FRESH_SECONDS}
        return self.expected - fresh

    def replicas(self, member: str, now: float) -> Replicas:
        """Of those that were heard of late; limit, pace and load time of the middle one that tells them."""
        reports = [
            one.report
            for one in self._routers.values()
            if one.report.member == member and now - one.heard_at <= FRESH_SECONDS
        ]
        return Replicas(
            ready=sum(one.ready for one in reports),
            limit=median_low([one.limit for one in reports if one.limit] or [0]),
            pace=median_low([one.pace for one in reports if one.pace] or [0.0]),
            load_seconds=median_low([one.load_seconds for one in reports if one.load_seconds] or [0.0]),
        )

    def held(self, member: str, now: float) -> float:
        """Requests that doors hold for the member, by their last word."""
        fresh = (one.report for one in self._routers.values() if now - one.heard_at <= FRESH_SECONDS)
        return float(sum(report.held.get(member, 0) for report in fresh))

    def samples(self, member: str, now: float) -> tuple[Sample, ...]:
        """The member's slots, the newest last: those that ended and that at least one router told of."""
        slots = sorted({slot for one in self._routers.values() for slot in one.covered})
        since = now - HISTORY_SECONDS - ROW_SECONDS
        slots = [slot for slot in slots if since <= slot and slot + ROW_SECONDS <= now + ROW_SECONDS / 2]
        closed = self._closed.setdefault(member, {})
        found = [slot for slot in slots if slot not in closed]
        for sample in self._added_up(member, found, slots[-CHECK_SLOTS:]):
            closed[int(sample.at)] = sample
        samples = tuple(closed[slot] for slot in slots)
        for slot in found:
            if slot > slots[-1] - OPEN_SECONDS:
                del closed[slot]
        return tuple(self._with_heard(one) for one in samples)

    def _added_up(self, member: str, slots: list[int], last: list[int]) -> list[Sample]:
        books = {
            name: _Book.of(name, one, self._routers.values(), member, sorted({*slots, *last}))
            for name, one in self._routers.items()
            if one.report.member == member
        }
        odd = _odd_waits(books, last)
        return [self._sample(slot, member, books, odd) for slot in slots]

    def _with_heard(self, sample: Sample) -> Sample:
        heard = self._heard(int(sample.at))
        return sample if heard == sample.heard else replace(sample, heard=heard)

    def _sample(self, slot: int, member: str, books: Mapping[str, "_Book"], odd: Collection[str]) -> Sample:
        own = {name: row for name, book in books.items() if (row := book.own.get(slot)) is not None}
        waits = [row.waits for name, row in own.items() if name not in odd and len(row.waits) == BUCKETS]
        pairs = [book.arrivals(slot) for book in books.values()]
        unsent = sum(_unsent(one, slot, member) for one in self._routers.values())
        return Sample(
            at=float(slot),
            arrivals_low=max(0.0, sum(low for low, _ in pairs) + unsent),
            arrivals_high=sum(high for _, high in pairs) + max(0, unsent),
            busy_seconds=sum(book.busy_seconds(slot) for book in books.values()),
            waiting=float(sum(row.waiting for name, row in own.items() if name not in odd)),
            waits=tuple(map(float, map(sum, zip(*waits, strict=True)))) or (0.0,) * BUCKETS,
        )

    def _heard(self, slot: int) -> float:
        """Share of the expected routers that told of the slot, or were not there yet."""
        if not self.expected:
            return 1.0
        told = 0
        for name in self.expected:
            router = self._routers.get(name)
            told += router is not None and (slot in router.covered or slot < min(router.covered, default=0))
        return told / len(self.expected)


@dataclass(frozen=True)
class _Book:
    """One replica's two books: its `own` rows and what doors `sent` it, by slot. `differ`: their sums over
    the last slots do."""

    own: Mapping[int, LoadRow]
    sent: Mapping[int, int]
    differ: bool

    @staticmethod
    def of(name: str, router: _Router, routers: Iterable[_Router], member: str, slots: list[int]) -> "_Book":
        own = {slot: row for slot in slots if (row := router.row(slot, member, own=True)) is not None}
        sent = dict.fromkeys(slots, 0)
        for one in routers:
            for slot in slots:
                door = one.row(slot, member, own=False)
                if door is not None:
                    sent[slot] += door.sent.get(name, 0)
        last = slots[-CHECK_SLOTS:]
        came, went = sum(own[slot].arrivals for slot in last if slot in own), sum(sent[slot] for slot in last)
        differ = abs(came - went) > DIFFERS_BY and max(came, went) > DIFFERS * min(came, went)
        return _Book(own, sent, differ)

    def busy_seconds(self, slot: int) -> float:
        """As its own row says; of one that tells less than was sent to it as much more."""
        row, sent = self.own.get(slot), self.sent[slot]
        if row is None:
            return 0.0
        less = self.differ and 0 < row.arrivals < sent
        return row.busy_seconds * (sent / row.arrivals if less else 1.0)

    def arrivals(self, slot: int) -> tuple[float, float]:
        """What both books say, and what one of them says."""
        row, sent = self.own.get(slot), float(self.sent[slot])
        if row is None:
            return sent, sent
        came = float(row.arrivals)
        return (min(came, sent), max(came, sent)) if self.differ else (came, came)


def _unsent(door: _Router, slot: int, member: str) -> int:
    """Requests that came to a door and went nowhere, because it holds them; below 0 those that it had held
    and sent."""
    row, before = door.row(slot, member, own=False), door.row(slot - ROW_SECONDS, member, own=False)
    if row is None:
        return 0
    held_before = before.waiting if before is not None else 0
    return min(row.waiting, max(-held_before, row.arrivals - sum(row.sent.values())))


def _odd_waits(books: Mapping[str, _Book], slots: list[int]) -> frozenset[str]:
    """Replicas in which requests wait many times longer than in every other one: that is theirs alone, and
    more replicas would not help. Of two it cannot be told which is odd."""
    waits = {
        name: quantile_of(
            [
                Sample(0.0, waits=tuple(map(float, row.waits)))
                for slot in slots[-CHECK_SLOTS:]
                if (row := book.own.get(slot)) is not None and len(row.waits) == BUCKETS
            ],
            LATE_SHARE,
        )
        for name, book in books.items()
    }
    if len(waits) < 3:
        return frozenset()
    longest = sorted(waits.values())
    if longest[-1] > max(ODD_SECONDS, ODD_WAITS * longest[-2]):
        return frozenset(name for name, wait in waits.items() if wait == longest[-1])
    return frozenset()
