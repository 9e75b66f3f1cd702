"""From what a Prometheus scraped of a pool's routers to rows of load, as the routers tell them themselves.

A counter is a line through its scrapes; a row is what the line rises by over the row's slot, in whole
requests. So what came between two scrapes is spread evenly over the slots between them, none is lost, and
none counted twice. Only slots that lie wholly between scrapes are told.

Values may be wrong. What no counter can be is dropped; so is a value that the next one takes back. A counter
that falls began anew. An increase far beyond what came before is believed when the next scrape confirms it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor
from statistics import median

from fastserve.api.scaling import ROW_SECONDS, WAIT_BOUNDS, LoadRow

ARRIVALS = "fastserve_member_arrivals_total"
ANSWERED = "fastserve_member_answered_total"
BUSY = "fastserve_member_busy_seconds_total"
WAITING = "fastserve_member_waiting"
DOORS = "fastserve_door_requests_total"
WAITS = "fastserve_queue_duration_seconds_bucket"
METRICS = (ARRIVALS, ANSWERED, BUSY, WAITING, DOORS, WAITS)

LEAP_FACTOR, LEAP = 5.0, 20.0
"""An increase is a leap when it is more than so many times what came before, and so much more."""
GREATEST = 1e15
"""No counter of a router is greater."""
INTERVALS = 2.0
"""A router is scraped when it was within so many intervals."""
COMPARED_SECONDS = 20.0
"""Doors and replicas are compared over so long at the least, and over INTERVALS."""
ALMOST = 1e-6
"""What floating point may take from a whole number."""
Key = tuple[str, str]
"""Of a series of one router: the metric, and its label `submodel` or `le`."""


@dataclass(frozen=True, slots=True)
class Scraped:
    """The raw samples of one router. `member` is its own sub-model, or empty; `scrapes` are when it was
    scraped, ascending; `series` are values by the time of the scrape."""

    router: str
    member: str
    scrapes: tuple[float, ...]
    series: Mapping[Key, Mapping[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What is new of one router: rows, and the slots that they tell all of."""

    member: str
    rows: tuple[LoadRow, ...]
    covered: range


@dataclass(frozen=True, slots=True)
class Reading:
    """What is new of all. `newest` is the last scrape; `interval` the seconds between scrapes, 0: not known;
    `fresh` are the routers that are scraped; `dropped` are values that no counter can have."""

    routers: Mapping[str, Told]
    newest: float
    interval: float
    fresh: frozenset[str]
    dropped: int


def read(scraped: Sequence[Scraped], since: Mapping[str, int]) -> Reading:
    """Rows from `since`, the first slot of each router that is not told yet. All live routers are told up to
    the same moment: a slot of which a part is told would pass for one of which a part is missing."""
    gaps = [b - a for one in scraped for a, b in pairwise(one.scrapes)]
    interval = median(gaps) if gaps else 0.0
    newest = max((one.scrapes[-1] for one in scraped if one.scrapes), default=0.0)
    routers = [_Router(one) for one in scraped if one.scrapes]
    live = [one.until for one in routers if one.until >= newest - INTERVALS * interval]
    end = min(live, default=newest)
    return Reading(
        routers={one.name: told for one, told in _told(routers, end, interval, since) if told.covered},
        newest=newest,
        interval=interval,
        fresh=frozenset(one.name for one in routers if one.scraped_at >= newest - INTERVALS * interval),
        dropped=sum(not _is_possible(v) for one in scraped for s in one.series.values() for v in s.values()),
    )


@dataclass(slots=True)
class _Knot:
    """A scrape of a counter: its value, and what it rose by in all since the first."""

    at: float
    value: float
    total: float


class Line:
    """What a counter rose by: `totals` at `times`, which ascend."""

    def __init__(self, times: Sequence[float], totals: Sequence[float]) -> None:
        self.times, self._totals = times, totals

    def at(self, time: float) -> float:
        """What it had risen by then; level before the first scrape and after the last."""
        i = bisect_right(self.times, time)
        if i == 0:
            return self._totals[0]
        if i == len(self.times):
            return self._totals[-1]
        (a, b), (low, high) = self.times[i - 1 : i + 1], self._totals[i - 1 : i + 1]
        return low + (high - low) * (time - a) / (b - a)

    def rise(self, slot: int, factor: float = 1.0) -> int:
        """In whole requests; those of slots side by side come to what those of all of them together do."""
        return floor(self.at(slot + ROW_SECONDS) * factor + ALMOST) - floor(self.at(slot) * factor + ALMOST)


class Counter:
    """One counter's scrapes, of which none is impossible, read one after another."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        self._knots: list[_Knot] = []
        for at, value in points:
            self._add(at, value)

    @property
    def confirmed(self) -> float:
        """The newest scrape, or the one before it where it leapt."""
        leapt = len(self._knots) > 1 and self._leapt()
        return self._knots[-2 if leapt else -1].at

    def line(self) -> Line:
        return Line([one.at for one in self._knots], [one.total for one in self._knots])

    def _add(self, at: float, value: float) -> None:
        if self._is_taken_back(at, value):
            self._knots.pop()
        last = self._knots[-1] if self._knots else None
        gain = self._gain(last, at, value) if last is not None else 0.0
        self._knots.append(_Knot(at, value, (last.total if last is not None else 0.0) + gain))

    def _is_taken_back(self, at: float, value: float) -> bool:
        """Whether the value before this one was wrong. Of the first it is not known whether what follows it
        began anew."""
        if len(self._knots) < 2:
            return bool(self._knots) and value < self._knots[0].value
        before, last = self._knots[-2:]
        if last.value > before.value:
            return before.value <= value < last.value or (value < last.value and self._leapt())
        return last.value < before.value <= value and self._leaps(value - last.value, at, last)

    def _gain(self, last: _Knot, at: float, value: float) -> float:
        """A router that starts again begins at 0, and not with much at half of where it was."""
        if value >= last.value:
            return value - last.value
        return 0.0 if value > last.value / 2.0 and self._leaps(value, at, last) else value

    def _leapt(self) -> bool:
        before, last = self._knots[-2:]
        return self._leaps(last.total - before.total, last.at, before)

    def _leaps(self, gain: float, at: float, last: _Knot) -> bool:
        """Whether so much since `last` is far beyond the mean before it, and beyond what came just before."""
        upto = bisect_left(self._knots, last.at, key=lambda one: one.at)
        rate = 0.0
        for first in {0, upto - 1} if upto else ():
            knot = self._knots[first]
            rate = max(rate, (last.total - knot.total) / (last.at - knot.at))
        return gain > LEAP_FACTOR * rate * (at - last.at) + LEAP


def _is_possible(value: float) -> bool:
    return 0.0 <= value <= GREATEST


class _Router:
    """One router's lines, and the span of time that all of them tell of."""

    def __init__(self, scraped: Scraped) -> None:
        self.name, self.member = scraped.router, scraped.member
        self.scraped_at = scraped.scrapes[-1]
        self.since, self.until = scraped.scrapes[0], scraped.scrapes[-1]
        self.lines: dict[Key, Line] = {}
        for key, values in scraped.series.items():
            points = [(at, value) for at, value in sorted(values.items()) if _is_possible(value)]
            if key[0] == WAITING:
                continue
            start = bisect_left(scraped.scrapes, min(values, default=0.0))
            if points and start:  # it is not told before it first counts
                points.insert(0, (scraped.scrapes[start - 1], 0.0))
            if not points:
                self.until = self.since
                continue
            counter = Counter(points)
            line = self.lines[key] = counter.line()
            self.since = max(self.since, line.times[0])
            # One that is not told any more stays where it was.
            if max(values) == self.scraped_at != counter.confirmed:
                self.until = min(self.until, counter.confirmed)
        waiting = scraped.series.get((WAITING, self.member), {})
        self._waiting = [(at, value) for at, value in sorted(waiting.items()) if _is_possible(value)]

    @property
    def arrivals(self) -> Line | None:
        """At its own place; None of a door alone."""
        return self.lines.get((ARRIVALS, self.member)) if self.member else None

    def slots(self, since: int, end: float) -> range:
        """Those that lie wholly within, and are new."""
        first = max(since, ceil(self.since / ROW_SECONDS) * ROW_SECONDS)
        last = floor(min(self.until, end) / ROW_SECONDS) * ROW_SECONDS
        return range(first, last, ROW_SECONDS)

    def own_rows(self, slots: range) -> Iterator[LoadRow]:
        arrivals = self.arrivals
        if arrivals is None:
            return
        answered, busy = self.lines.get((ANSWERED, self.member)), self.lines.get((BUSY, self.member))
        waits = self._waits()
        for at in slots:
            rise = busy.at(at + ROW_SECONDS) - busy.at(at) if busy else 0.0
            yield LoadRow(
                at=at,
                member=self.member,
                own=True,
                arrivals=arrivals.rise(at),
                answered=answered.rise(at) if answered else 0,
                busy_seconds=round(max(0.0, rise), 6),
                waiting=self._waited(at + ROW_SECONDS),
                waits=tuple(line.rise(at) for line in waits),
            )

    def _waited(self, end: float) -> int:
        """By the first scrape after that."""
        i = bisect_left(self._waiting, (end, 0.0))
        return round(self._waiting[min(i, len(self._waiting) - 1)][1]) if self._waiting else 0

    def _waits(self) -> tuple[Line, ...]:
        """A line for each bucket, of those that count all below a bound; none where bounds are missing."""
        by_bound = {float(label): line for (name, label), line in self.lines.items() if name == WAITS}
        bounds = (*WAIT_BOUNDS, float("inf"))
        if not set(bounds) <= by_bound.keys():
            return ()
        times = sorted({at for bound in bounds for at in by_bound[bound].times})
        totals: list[list[float]] = [[0.0] for _ in bounds]
        for a, b in pairwise(times):
            most = 0.0
            for total, bound in zip(totals, bounds, strict=True):
                rise = by_bound[bound].at(b) - by_bound[bound].at(a)
                total.append(total[-1] + max(0.0, rise - most))
                most = max(most, rise)
        return tuple(Line(times, one) for one in totals)


def _told(
    routers: Sequence[_Router], end: float, interval: float, since: Mapping[str, int]
) -> Iterator[tuple[_Router, Told]]:
    doors = _Doors(routers, end, max(COMPARED_SECONDS, INTERVALS * interval))
    for one in routers:
        slots = one.slots(since.get(one.name, 0), end)
        rows = (*one.own_rows(slots), *doors.rows(one, slots))
        yield one, Told(one.member, rows, slots)


class _Doors:
    """What doors sent. A Prometheus does not know to whom: that is taken from what each replica got, times
    what doors sent for each that replicas got. Doors and replicas are scraped at different moments, so this
    is compared over a while and not slot by slot."""

    def __init__(self, routers: Sequence[_Router], end: float, seconds: float) -> None:
        self._replicas: dict[str, list[Line]] = {}
        self._sent: dict[str, float] = {}
        for one in routers:
            if (line := one.arrivals) is not None:
                self._replicas.setdefault(one.member, []).append(line)
            for (name, member), line in one.lines.items():
                if name == DOORS:
                    self._sent[member] = self._sent.get(member, 0.0) + line.at(end) - line.at(end - seconds)
        self._factors = {member: self._factor(member, end, seconds) for member in self._replicas}

    def rows(self, router: _Router, slots: range) -> Iterator[LoadRow]:
        """The row of a replica's own router has what all doors sent it. What they hold, they tell."""
        arrivals, name = router.arrivals, router.name
        if arrivals is None:
            return
        for at in slots:
            if sent := arrivals.rise(at, self._factors[router.member]):
                yield LoadRow(at=at, member=router.member, own=False, arrivals=sent, sent={name: sent})

    def _factor(self, member: str, end: float, seconds: float) -> float:
        """1 where no door tells anything at all: then there is nothing to compare with."""
        got = sum(one.at(end) - one.at(end - seconds) for one in self._replicas[member])
        if not self._sent:
            return 1.0
        return self._sent.get(member, 0.0) / got if got else 1.0
