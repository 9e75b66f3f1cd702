"""All that a pool's routers told of their load.

Rows carry the slot that they are of, so that nothing hangs on when they were read, a router that starts
again resets nothing, and a new reader who asks for the whole history has the same books.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import floor, inf
from statistics import median_high, median_low

from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, TOLD_SECONDS, LoadReport, LoadRow
from fastserve.scaling.books import Books
from fastserve.scaling.samples import Sample

FRESH_SECONDS = 10.0
"""What a router said of itself counts for so long."""


@dataclass
class _Router:
    """One router. `covered` are the slots that it told all of, `first` the first of them."""

    report: LoadReport
    heard_at: float
    covered: set[int] = field(default_factory=set)
    first: float = inf


@dataclass(frozen=True, slots=True)
class Replicas:
    """What a member's own routers say of themselves: how many take requests, and the middle one's figures.
    `stirred`: something came of late."""

    ready: int
    limit: int
    pace: float
    load_seconds: float
    stirred: bool = False


class Ledger:
    """The books of one pool. `expected` are the instances that are to be heard."""

    def __init__(self) -> None:
        self.expected: frozenset[str] = frozenset()
        self._routers: dict[str, _Router] = {}
        self._books: dict[str, Books] = {}
        self._heard: dict[int, float] | None = None
        """The share of the expected routers that told of each slot, until something changes it."""
        self._heard_of: frozenset[str] = frozenset()

    def take(self, report: LoadReport, now: float) -> None:
        """One router's word, heard at `now` (Unix time), and its rows, moved by what its clock is off."""
        before = self._routers.get(report.instance)
        last = before.report.now if before is not None else report.now
        self.hear(report, now)
        moved = round((now - report.now) / ROW_SECONDS) * ROW_SECONDS
        ended = floor(report.now / ROW_SECONDS) * ROW_SECONDS
        rows = [row for row in report.rows if ended - HISTORY_SECONDS <= row.at < ended]
        shifted = [row.model_copy(update={"at": row.at + moved}) for row in rows] if moved else rows
        if report.member is not None:  # it has a row of its own for every slot, also where nothing came
            self.enter(report.instance, shifted, [row.at for row in shifted if row.own])
            return
        # Where a door that was heard before says nothing, nothing came.
        silent = max(floor(last / ROW_SECONDS) * ROW_SECONDS, ended - TOLD_SECONDS)
        first = min([silent, ended - ROW_SECONDS, *(row.at for row in rows)])
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
            self._books.setdefault(row.member, Books()).enter(instance, slot, row)
        router.covered.update(covered)
        router.first = min(router.covered, default=inf)
        self._heard = None

    def forget(self, now: float) -> None:
        """Drop what is older than the history."""
        self._heard = None
        oldest = now - HISTORY_SECONDS - ROW_SECONDS
        for router in self._routers.values():
            router.covered = {slot for slot in router.covered if slot >= oldest}
            router.first = min(router.covered, default=inf)
        self._routers = {
            name: one
            for name, one in self._routers.items()
            if one.covered or now - one.heard_at <= FRESH_SECONDS
        }
        for books in self._books.values():
            books.forget(oldest)

    def keep(self, members: Iterable[str]) -> None:
        """Drop the books of all sub-models but these."""
        kept = frozenset(members)
        self._books = {name: books for name, books in self._books.items() if name in kept}

    def unheard(self, now: float) -> frozenset[str]:
        """Expected routers without a fresh word."""
        fresh = {name for name, one in self._routers.items() if now - one.heard_at <= FRESH_SECONDS}
        return self.expected - fresh

    def replicas(self, member: str, now: float) -> Replicas:
        """Of those that were heard of late; limit, pace and load time of the middle one that tells them."""
        reports = [one for one in self._fresh(now) if one.member == member]
        own = (row for report in reports for row in report.rows if row.own)
        return Replicas(
            ready=sum(one.ready for one in reports),
            limit=median_low([one.limit for one in reports if one.limit] or [0]),
            # Of two the greater: that a replica does more than it can is seen by what waits.
            pace=median_high([one.pace for one in reports if one.pace] or [0.0]),
            load_seconds=median_low([one.load_seconds for one in reports if one.load_seconds] or [0.0]),
            stirred=any(row.arrivals or row.waiting for row in own),
        )

    def held(self, member: str, now: float) -> float:
        """Requests that doors hold for the member, by their last word."""
        return float(sum(report.held.get(member, 0) for report in self._fresh(now)))

    def samples(self, member: str, now: float) -> tuple[Sample, ...]:
        """The member's slots, the newest last: those that ended and that at least one router told of."""
        heard, since = self._shares(), now - HISTORY_SECONDS - ROW_SECONDS
        slots = [slot for slot in heard if since <= slot and slot + ROW_SECONDS <= now + ROW_SECONDS / 2]
        replicas = [name for name, one in self._routers.items() if one.report.member == member]
        samples = self._books.setdefault(member, Books()).samples(slots, replicas)
        return tuple(
            one if one.heard == heard[slot] else replace(one, heard=heard[slot])
            for slot, one in zip(slots, samples, strict=True)
        )

    def _fresh(self, now: float) -> list[LoadReport]:
        return [one.report for one in self._routers.values() if now - one.heard_at <= FRESH_SECONDS]

    def _shares(self) -> dict[int, float]:
        """By slot, ascending: the share of the expected routers that told of it, or were not there yet."""
        if self._heard is not None and self._heard_of == self.expected:
            return self._heard
        known = [self._routers.get(name) for name in self.expected]
        expected = [one for one in known if one is not None and one.covered]
        count = max(1, len(self.expected))
        slots = sorted({slot for one in self._routers.values() for slot in one.covered})
        self._heard_of = self.expected
        self._heard = {
            slot: sum(slot in one.covered or slot < one.first for one in expected) / count
            if self.expected
            else 1.0
            for slot in slots
        }
        return self._heard
