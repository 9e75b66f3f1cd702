"""For how long one round of deciding stops a router: the true Scaler, books and decisions in an event loop
that something else wants to run in as well. The reports are as routers tell them, JSON, without a network.

    python -m scaling.rounds        prints what scaling.many writes as well
"""

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import psutil
from prometheus_client import CollectorRegistry

from fastserve.api.routes import RouteTable
from fastserve.api.scaling import (
    HISTORY_SECONDS,
    ROW_SECONDS,
    TOLD_SECONDS,
    WAIT_BOUNDS,
    LoadReport,
    LoadRow,
    ScalingDecision,
)
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.scaling.exporting import ScalingMetrics
from fastserve.router.scaling.meter import Meter
from fastserve.router.scaling.scaler import LEAST_PAUSE_SECONDS, Scaler, ScalerParts
from fastserve.router.scaling.writing import Check
from fastserve.router.table import TableSnapshot
from fastserve.scaling.ledger import Ledger
from scaling import report
from scaling.told import LIMIT, PACE

ROUNDS = 10
DIGEST = "0" * 64
START = 1_000_000_000.3
"""Unix time of the first round, just after the end of a row."""


@dataclass(frozen=True)
class Shape:
    """A pool. With `all_doors` every router sent requests to every sub-model; else one stand-by router."""

    members: int
    replicas: int
    all_doors: bool

    @property
    def names(self) -> list[str]:
        return [f"member-{number}" for number in range(self.members)]

    def of(self, member: str) -> list[str]:
        return [f"{member}-{number}" for number in range(self.replicas)]

    @property
    def routers(self) -> list[tuple[str, str | None]]:
        return [("standby", None), *((one, name) for name in self.names for one in self.of(name))]


SHAPES = (Shape(2, 1, False), Shape(2, 4, True), Shape(40, 2, False), Shape(40, 2, True))


@dataclass
class Round:
    """Milliseconds: the longest stretches in which nothing else ran, and the whole round. The first one of a
    new holder reads all of the history."""

    members: int
    replicas: int
    all_doors: bool
    kilobytes: float = 0.0
    first_stretch: float = 0.0
    first_whole: float = 0.0
    stretch: float = 0.0
    whole: float = 0.0
    mib: float = 0.0
    """By which the process grew."""


@dataclass
class Watch:
    """Notes how long the event loop did not turn; `paused` while the bench itself is at work."""

    longest: float = 0.0
    begun: float = 0.0
    taken: list[tuple[float, float]] = field(default_factory=list)
    """Of each round: the longest stretch, and the whole."""
    _turned: float = 0.0

    async def run(self) -> None:
        while True:
            self.turn()
            await asyncio.sleep(0)

    def turn(self) -> None:
        now = time.perf_counter()
        self.longest, self._turned = max(self.longest, now - self._turned), now

    def end(self) -> None:
        """A round is over, if one had begun."""
        self.turn()
        if self.begun:
            whole = self._turned - self.begun - LEAST_PAUSE_SECONDS  # that lies before the next look
            self.taken.append((1000 * self.longest, 1000 * whole))

    def begin(self) -> None:
        self.begun = self._turned = time.perf_counter()
        self.longest = 0.0


class Told:
    """LoadSource that reads reports made up beforehand; each look is one round, ROW_SECONDS later."""

    name: Literal["Routers", "Prometheus"] = "Routers"
    problem = ""
    lag = 0.0

    def __init__(self, shape: Shape, watch: Watch) -> None:
        self.now = START
        self.hurry: Callable[[], None] = lambda: None
        self.kilobytes = 0.0
        self.over = asyncio.Event()
        self._shape = shape
        self._watch = watch

    async def look(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._watch.end()
        if len(self._watch.taken) > ROUNDS:
            self.over.set()
            await asyncio.sleep(60.0)  # the bench ends this task
        self.now += ROW_SECONDS
        seconds = TOLD_SECONDS if self._watch.taken else HISTORY_SECONDS
        bodies = [_told(self._shape, name, member, self.now, seconds) for name, member in self._shape.routers]
        self.kilobytes = sum(map(len, bodies)) / 1000
        gc.collect()
        self._watch.begin()
        ledger.expected = frozenset(name for name, _ in self._shape.routers)
        for body in bodies:
            ledger.take(LoadReport.model_validate_json(body), clock())
            await asyncio.sleep(0)
        self.hurry()

    def close(self) -> None:
        """Nothing is open."""


class Nobody:
    """ScaleWriter that writes nothing."""

    async def write(self, decision: ScalingDecision, before: int, check: Check) -> bool:  # noqa: ARG002  the protocol's
        return True


def _told(shape: Shape, name: str, member: str | None, now: float, seconds: float) -> bytes:
    """One router's report under a steady load."""
    end = int(now // ROW_SECONDS) * ROW_SECONDS
    slots, recent = range(end - int(seconds), end, ROW_SECONDS), end - TOLD_SECONDS
    # What doors sent is told of late only.
    rows = tuple(row for at in slots for row in _rows(shape, at, member) if row.own or at >= recent)
    told = LoadReport(
        instance=name,
        member=member,
        now=now,
        ready=True,
        load_seconds=2.0,
        limit=LIMIT,
        pace=PACE,
        rows=rows,
    )
    return told.model_dump_json().encode()


def _rows(shape: Shape, at: int, member: str | None) -> Iterator[LoadRow]:
    doors = len(shape.routers) if shape.all_doors else 1
    sent = 1 if shape.all_doors else round(PACE)
    if member is not None:
        waits = (doors * sent,) + (0,) * len(WAIT_BOUNDS)
        told = {"arrivals": doors * sent, "answered": doors * sent, "busy_seconds": 1.0, "waits": waits}
        yield LoadRow(at=at, member=member, own=True, **told)
    if member is None or shape.all_doors:
        for other in shape.names:
            each = dict.fromkeys(shape.of(other), sent)
            yield LoadRow(at=at, member=other, own=False, arrivals=sum(each.values()), sent=each)


def _table(shape: Shape) -> RouteTable:
    engine = {"devices": ["cpu"], "python": "python3"}
    target = {"digest": DIGEST, "modelName": "model", "version": "1", "storageUri": "file:///none"}
    members = [
        {
            "name": name,
            "meaning": {"examples": [name], "digest": DIGEST},
            "target": {**target, "engine": engine, "files": {}},
            "staff": {
                "least": 1,
                "most": 2 * shape.replicas,
                "replicas": shape.replicas,
                "asked": shape.replicas,
            },
        }
        for name in shape.names
    ]
    common = {"pool": "pool", "task": "TextClassification", "method": "WeightedSum", "selection": {}}
    rest = {"deadlineMillis": 5000, "minMembers": 1, "limits": {}, "members": members}
    return RouteTable.model_validate({**common, **rest})


async def _measured(shape: Shape) -> Round:
    meter = Meter()
    pool = Pool("pool", None, Peers("standby", lambda _name, _ready: None), meter=meter)
    pool.snapshot = TableSnapshot.of(_table(shape), DIGEST)
    watch = Watch()
    source = Told(shape, watch)
    scaler = Scaler(
        ScalerParts(
            pool, ScalingMetrics(CollectorRegistry()), Nobody(), lambda _: source, clock=lambda: source.now
        )
    )
    source.hurry = scaler.hurry
    before = psutil.Process().memory_info().rss
    tasks = [asyncio.create_task(scaler.run()), asyncio.create_task(watch.run())]
    await source.over.wait()
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    return _round(shape, watch.taken, source.kilobytes, grown)


def _round(shape: Shape, taken: Sequence[tuple[float, float]], kilobytes: float, grown: float) -> Round:
    (first_stretch, first_whole), *later = taken
    told = Round(shape.members, shape.replicas, shape.all_doors, round(kilobytes))
    told.first_stretch, told.first_whole = round(first_stretch, 1), round(first_whole, 1)
    told.stretch = round(max(stretch for stretch, _ in later), 1)
    told.whole = round(sum(whole for _, whole in later) / len(later), 1)
    told.mib = round(grown)
    return told


def rounds() -> list[Round]:
    """Of each shape, one after the other, each in a process of its own because of its memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        return list(processes.map(round_of, SHAPES))


def round_of(shape: Shape) -> Round:
    return asyncio.run(_measured(shape))


def show_rounds(found: Sequence[Round]) -> None:
    heads = ("MEMBERS", "REPLICAS", "DOORS", "KB", "FIRST STRETCH", "FIRST ROUND", "STRETCH", "ROUND", "MiB")
    table = report.new_table(*heads)
    for one in found:
        doors = "all" if one.all_doors else "one"
        times = (one.first_stretch, one.first_whole, one.stretch, one.whole)
        replicas = one.members * one.replicas
        table.add_row(
            str(one.members), str(replicas), doors, f"{one.kilobytes:g}", *map(str, times), f"{one.mib:g}"
        )
    report.console.print(
        "Milliseconds of a round of deciding, every 2 s, and of its longest stretch without a pause", table
    )


if __name__ == "__main__":
    show_rounds(rounds())
