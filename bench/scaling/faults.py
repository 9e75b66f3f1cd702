"""The decision while what it hears is missing, late or wrong, by the ledger that routers' words go through.

Each run is beside one with the same requests and without the fault. An action is wrong where it leads outside
of all that the run without the fault asked for within 10 s before and after, and what happened to requests
does not call for it: up, where they did not wait too long in the last half minute; down, during the fault and
a minute more, and later where they wait too long in the minute after.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import pi, sin
from multiprocessing import Pool
from random import Random
from statistics import fmean

from pydantic import ValidationError

from fastserve.api.scaling import ROW_SECONDS, TOLD_SECONDS, LoadReport, LoadRow
from fastserve.scaling.decide import decide
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.samples import Bounds, Sample, Standing
from scaling.compare import LOCAL_LOADS, WORKERS
from scaling.judging import flaps
from scaling.simulate import BIN_SECONDS, Run, Scaler, Service, Simulation, Terms, View
from scaling.traces import poisson

SERVICE = Service(batch=1, limit=2, seconds=(0.05, 0.0502, 0.0505, 0.051))
MEMBER = "declared"
DOORS = 2
BEGIN, SECONDS, UNTIL = 900.0, 180.0, 1800.0
"""When a fault begins, how long it lasts, when a run ends."""
NEAR_SECONDS, SUFFERED_SECONDS = 10.0, 30.0
AFTER_SECONDS = 60.0
"""For so long after a fault its end counts as a part of it."""
START, TARGET = 5, 0.1
TIMES = 10
"""How far from the truth lies are."""
Reports = dict[str, LoadReport]


@dataclass(frozen=True)
class Scene:
    """What was told now and when the fault began, and for how many seconds it has lasted."""

    now: Reports
    at_begin: Reports
    lasted: float


Fault = Callable[[Scene], Reports]
"""What is heard instead."""


@dataclass
class Told:
    """What routers would say: made of each slot's sums, shared equally among those who serve."""

    rows: dict[str, list[LoadRow]] = field(default_factory=dict)

    def add(self, sample: Sample, ready: Sequence[str]) -> None:
        """A slot that ended."""
        came = _shares(sample.arrivals_low, len(ready))
        waiting = _shares(sample.waiting, len(ready))
        waits = [_shares(one, len(ready)) for one in sample.waits]
        for place, name in enumerate(ready):
            row = LoadRow(
                at=int(sample.at),
                member=MEMBER,
                own=True,
                arrivals=came[place],
                busy_seconds=sample.busy_seconds / len(ready),
                waiting=waiting[place],
                waits=tuple(one[place] for one in waits),
            )
            self._keep(name, row)
        for place, door in enumerate(doors()):
            sent = {name: _shares(came[at], DOORS)[place] for at, name in enumerate(ready)}
            arrivals = _shares(sample.arrivals_low, DOORS)[place]
            row = LoadRow(at=int(sample.at), member=MEMBER, own=False, arrivals=arrivals, sent=sent)
            self._keep(door, row)

    def _keep(self, name: str, row: LoadRow) -> None:
        rows = self.rows.setdefault(name, [])
        rows.append(row)
        while rows[0].at <= row.at - TOLD_SECONDS:
            rows.pop(0)

    def reports(self, ready: Sequence[str], view: View, now: float) -> Reports:
        """The word of each router that is there."""
        return {
            name: LoadReport(
                instance=name,
                member=MEMBER if name in ready else None,
                now=now,
                ready=True,
                load_seconds=view.load_seconds,
                limit=view.limit,
                pace=view.pace,
                held={MEMBER: view.held} if name == doors()[0] and view.held else {},
                rows=tuple(self.rows.get(name, ())),
            )
            for name in (*doors(), *ready)
        }


def doors() -> list[str]:
    return [f"standby-{place}" for place in range(DOORS)]


def _shares(number: float, parts: int) -> list[int]:
    """Whole numbers as equal as may be that add up to it."""
    whole = round(number)
    return [whole * (place + 1) // parts - whole * place // parts for place in range(parts)]


class Heard(Scaler):
    """Ours by the ledger, which hears through a fault from `begin` to `end`."""

    period = ROW_SECONDS

    def __init__(self, bounds: Bounds, fault: Fault, begin: float, end: float) -> None:
        self._bounds, self._fault, self._begin, self._end = bounds, fault, begin, end
        self._ledger, self._told = Ledger(), Told()
        self._at_begin: Reports = {}
        self.because: dict[float, str] = {}
        """Reason and message of each change, by when it was."""

    def step(self, view: View) -> int:
        now = view.now
        ready = [f"replica-{place}" for place in range(view.ready)]
        self._told.add(view.samples[-1], ready)
        reports = self._told.reports(ready, view, now)
        ledger, expected = self._ledger, frozenset(reports)
        if self._begin <= now < self._end:
            self._at_begin = self._at_begin or reports
            reports = self._fault(Scene(reports, self._at_begin, now - self._begin))
        ledger.expected = expected
        for report in reports.values():
            ledger.take(report, now)
        ledger.forget(now)
        known = ledger.replicas(MEMBER, now)
        standing = Standing(
            replicas=view.replicas,
            ready=known.ready,
            load_seconds=known.load_seconds,
            limit=known.limit,
            pace=known.pace,
            held=ledger.held(MEMBER, now),
        )
        wish = decide(ledger.samples(MEMBER, now), standing, self._bounds, now)
        if wish.replicas != view.replicas:
            self.because[now] = f"{wish.reason}: {wish.message}"
        return wish.replicas


def no_fault(scene: Scene) -> Reports:
    return scene.now


def stopped(_scene: Scene) -> Reports:
    return {}


def _silent(_report: LoadReport) -> None:
    return None


def _only(name: str, change: Callable[[LoadReport], LoadReport | None]) -> Fault:
    """One router's word is changed; None: it is not heard."""

    def fault(scene: Scene) -> Reports:
        changed = {key: change(one) if key == name else one for key, one in scene.now.items()}
        return {key: one for key, one in changed.items() if one is not None}

    return fault


def _all(change: Callable[[LoadReport], LoadReport | None]) -> Fault:
    def fault(scene: Scene) -> Reports:
        changed = {key: change(one) for key, one in scene.now.items()}
        return {key: one for key, one in changed.items() if one is not None}

    return fault


def stale(scene: Scene) -> Reports:
    """The same words again and again."""
    return scene.at_begin


def cached(scene: Scene) -> Reports:
    """The same rows again and again, with the present time."""
    return {
        name: one.model_copy(update={"now": one.now + scene.lasted}) for name, one in scene.at_begin.items()
    }


def not_a_number(report: LoadReport) -> LoadReport | None:
    """As it comes over the wire."""
    text = report.model_copy(update={"pace": 17.5}).model_dump_json(by_alias=True)
    try:
        return LoadReport.model_validate_json(text.replace("17.5", "NaN"))
    except ValidationError:
        return None


def _skewed(seconds: int) -> Callable[[LoadReport], LoadReport]:
    def change(report: LoadReport) -> LoadReport:
        rows = tuple(one.model_copy(update={"at": one.at + seconds}) for one in report.rows)
        return report.model_copy(update={"now": report.now + seconds, "rows": rows})

    return change


def reset(scene: Scene) -> Reports:
    """One router has just started again and knows nothing of before."""
    report = scene.now["replica-0"]
    since = int(report.now - scene.lasted)
    rows = tuple(one for one in report.rows if one.at > since)
    return {**scene.now, "replica-0": report.model_copy(update={"rows": rows})}


def spike(scene: Scene) -> Reports:
    """All routers' newest rows are many times too large, once."""
    if scene.lasted >= ROW_SECONDS:
        return scene.now
    return {name: _spiked(one) for name, one in scene.now.items()}


def _spiked(report: LoadReport) -> LoadReport:
    newest = tuple(_times(row, TIMES) for row in report.rows[-1:])
    return report.model_copy(update={"rows": (*report.rows[:-1], *newest)})


def _times(row: LoadRow, times: float) -> LoadRow:
    return row.model_copy(
        update={
            "arrivals": round(row.arrivals * times),
            "busy_seconds": row.busy_seconds * times,
            "waiting": round(row.waiting * times),
            "waits": tuple(round(one * times) for one in row.waits),
            "sent": {name: round(one * times) for name, one in row.sent.items()},
        }
    )


def _lies(times: float) -> Callable[[LoadReport], LoadReport]:
    def change(report: LoadReport) -> LoadReport:
        rows = tuple(_times(one, times) for one in report.rows)
        return report.model_copy(update={"rows": rows, "pace": report.pace * times})

    return change


FAULTS: Mapping[str, Fault] = {
    "all routers silent": stopped,
    "one replica silent": _only("replica-0", _silent),
    "one door silent": _only("standby-0", _silent),
    "stale: the same words": stale,
    "stale: the same rows, new times": cached,
    "NaN from all": _all(not_a_number),
    "NaN from one": _only("replica-0", not_a_number),
    "one clock 30 s ahead": _only("replica-0", _skewed(30)),
    "one clock 30 s behind": _only("replica-0", _skewed(-30)),
    "all clocks 30 s ahead": _all(_skewed(30)),
    "a replica's counters reset": reset,
    "one scrape 10 times too large": spike,
    "a replica says 10 times more": _only("replica-0", _lies(TIMES)),
    "a replica says 10 times less": _only("replica-0", _lies(1.0 / TIMES)),
    "a door says 10 times more": _only("standby-0", _lies(TIMES)),
    "a door says 10 times less": _only("standby-0", _lies(1.0 / TIMES)),
}
LOADS = ("constant", "varying")


@dataclass(frozen=True)
class Outcome:
    """One fault under one load, over all seeds."""

    fault: str
    load: str
    wrong: int
    actions: int
    flaps_per_hour: float
    flaps_per_hour_without: float
    first_wrong: str = ""


@lru_cache(maxsize=2)
def arrivals_of(load: str, seed: int) -> tuple[float, ...]:
    """Around three replicas' worth, or once up and down in ten minutes."""
    dice = Random(f"{load} {seed}")
    level, pace = dice.uniform(2.2, 3.2), SERVICE.pace

    def rate(now: float) -> float:
        swing = sin(2.0 * pi * now / 600.0) if load == "varying" else 0.0
        return pace * level * (1.0 + 0.6 * swing)

    return tuple(poisson(rate, 1.6 * level * pace, UNTIL, dice))


def _begin(seed: int) -> float:
    """At another point of the load each time."""
    return BEGIN + 31.0 * seed


def run_of(fault: Fault, load: str, seed: int) -> tuple[Run, dict[float, str]]:
    """The run, and why each change was made."""
    begin = _begin(seed)
    terms = Terms(SERVICE, LOCAL_LOADS, start=START, target=TARGET, until=UNTIL, seed=seed)
    scaler = Heard(Bounds(1, terms.most), fault, begin, begin + SECONDS)
    return Simulation(arrivals_of(load, seed), scaler, terms).run(), scaler.because


def wrong_actions(
    faulted: Run, without: Run, start: int, target: float, over_at: float
) -> list[tuple[float, str]]:
    """Actions that nothing called for: when, and told. `over_at` is when the fault ended."""
    found, before = [], start
    for at, replicas in faulted.changes:
        near = _asked(without.changes, start, at - NEAR_SECONDS, at + NEAR_SECONDS)
        told = f"{before} to {replicas} at {at:.0f} s, else {min(near)} to {max(near)}"
        if replicas > before:
            wrong = replicas > max(near) and not _suffered(faulted, at - SUFFERED_SECONDS, at, target)
        else:
            soon = at < over_at + AFTER_SECONDS
            wrong = replicas < min(near) and (soon or _suffered(faulted, at, at + AFTER_SECONDS, target))
        if wrong:
            found.append((at, told))
        before = replicas
    return found


def _asked(changes: Sequence[tuple[float, int]], start: int, since: float, until: float) -> set[int]:
    """All numbers that were asked for within a time."""
    before = [replicas for at, replicas in changes if at <= since]
    return {before[-1] if before else start, *(replicas for at, replicas in changes if since < at <= until)}


def _suffered(run: Run, since: float, until: float, target: float) -> bool:
    """Whether requests waited too long in any BIN_SECONDS of a time."""
    return any(
        sum(wait > target for wait in one.waits) > 0.05 * len(one.waits)
        for one in run.bins
        if since - BIN_SECONDS <= one.at <= until
    )


def judge(job: tuple[str, str, int]) -> tuple[list[str], int, float, float]:
    """In a process of its own: what was wrong, how many actions there were, flaps with and without."""
    name, load, seed = job
    without, (faulted, because) = _without(load, seed), run_of(FAULTS[name], load, seed)
    since, hours = BEGIN, (UNTIL - BEGIN) / 3600.0
    found = wrong_actions(faulted, without, START, TARGET, _begin(seed) + SECONDS)
    wrong = [f"seed {seed}: {text}; {because.get(at, '')}" for at, text in found]
    both = [flaps(run.changes, START, since) / hours for run in (faulted, without)]
    return wrong, len(faulted.changes), both[0], both[1]


@lru_cache(maxsize=2)
def _without(load: str, seed: int) -> Run:
    return run_of(no_fault, load, seed)[0]


def outcomes(seeds: int, names: Sequence[str]) -> Iterator[Outcome]:
    """Fault by fault."""
    jobs = [(name, load, seed) for load in LOADS for seed in range(seeds) for name in names]
    with Pool(WORKERS) as pool:
        made = dict(zip(jobs, pool.map(judge, jobs, chunksize=len(names)), strict=True))
    for name in names:
        for load in LOADS:
            own = [made[name, load, seed] for seed in range(seeds)]
            yield _outcome(name, load, own)


def _outcome(name: str, load: str, own: Sequence[tuple[list[str], int, float, float]]) -> Outcome:
    told = [text for one in own for text in one[0]]
    plain = Outcome(name, load, len(told), sum(one[1] for one in own), 0.0, 0.0)
    return replace(
        plain,
        flaps_per_hour=round(fmean(one[2] for one in own), 2),
        flaps_per_hour_without=round(fmean(one[3] for one in own), 2),
        first_wrong=told[0] if told else "",
    )
