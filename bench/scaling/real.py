"""A pool in local mode that scales itself, and the simulation of the very same requests.

The sub-model's Triton model is a declared wait. The load is open loop: little, a step, a burst, silence until
it sleeps, a request that wakes it, little. What the simulation is given is measured in the same run: how long
a batch takes, how long each replica took to load, in their order, and to go. The decision is ours in both.
"""

import asyncio
import json
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from matplotlib.figure import Figure

from declared_wait import MANIFEST, TEXT, declared_wait
from fastserve.api.scaling import ROW_SECONDS, LoadReport
from fastserve.errors import BackendError
from fastserve.local.documents import ProcessKind, Session
from fastserve.router.upstream import Upstream
from fastserve.scaling.samples import Bounds, Sample, quantile_of
from scaling import report
from scaling.judging import quantile
from scaling.scalers import Ours
from scaling.simulate import BIN_SECONDS, Run, Service, Simulation, Terms
from scaling.traces import poisson, steady

BATCH, WAIT_SECONDS = 2, 0.2
MOST, IDLE_SECONDS, DEADLINE_SECONDS = 5, 60, 60
TARGET = 0.5
"""Seconds; well above a batch, so that one run tells something: at 0.2 chance alone decides how many replicas
a step finds, and the simulation's own seeds lie from 0.23 to 0.40 s apart (p95 of the wait)."""
PHASES = (
    ("little", 60.0, 0.5),
    ("step", 120.0, 2.5),
    ("little again", 90.0, 0.5),
    ("burst", 60.0, 3.5),
    ("after the burst", 60.0, 0.5),
    ("silence", IDLE_SECONDS + 60.0, 0.0),
    ("awake again", 60.0, 0.5),
)
"""Seconds, and replicas' worth."""
ALONE_SECONDS = 20.0
"""How much later than one that wakes a sleeper the others come."""
LOOK_SECONDS = 0.5
DECIDED_SECONDS = 0.55
"""From the end of a slot until a replica is started: its rows are read 0.3 s later, and the session's process
looks twice a second at how many there are to be."""
PROBES = 20
REFUSED = 429
"""Told at once to come again later: there is no room until more replicas are ready."""
GOAL = 0.1
"""How far off the simulation may be."""
SIMULATED = 10
"""Runs of the simulation, with as many seeds."""
SCALED = (
    MANIFEST.replace("overload", "scaled")
    .replace('"0"}}', f'"0"}}, combination: {{deadlineMillis: {DEADLINE_SECONDS * 1000}}}}}')
    .replace("type: Custom,", f"type: Custom, maxBatchSize: {BATCH},")
    + f"  autoscaling: {{minReplicas: 0, maxReplicas: {MOST}, idleSeconds: {IDLE_SECONDS}, "
    + f"targetQueueMillis: {round(TARGET * 1000)}}}\n"
)


@dataclass(frozen=True)
class Answer:
    """One request: when it was due and how long its answer took, seconds, since the load began."""

    due: float
    seconds: float
    status: int
    woken: bool


@dataclass(frozen=True)
class Look:
    """What could be seen at one time: replicas asked for, that run and that take requests."""

    at: float
    asked: int
    running: int
    ready: int
    pace: float
    """Requests per second that one of them has learnt to answer, the middle word; 0: none has."""


@dataclass
class Seen:
    """All that was seen of one run. `starts` and `readies` are when each router of a replica was first seen
    and first ready, `left` when it was not listed any more, `ends` when it was gone."""

    answers: list[Answer] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    rows: dict[tuple[str, int], tuple[float, ...]] = field(default_factory=dict)
    """How long requests waited in a replica's gate, by its name and the slot, in buckets."""
    starts: dict[tuple[str, int], float] = field(default_factory=dict)
    readies: dict[tuple[str, int], float] = field(default_factory=dict)
    left: dict[tuple[str, int], float] = field(default_factory=dict)
    ends: dict[tuple[str, int], float] = field(default_factory=dict)
    limits: list[int] = field(default_factory=list)
    phase: float = 0.0
    """How far into a slot the load began, seconds."""


def due_times(pace: float, seed: int) -> list[float]:
    """When requests are due. The first one after the silence comes alone."""
    dice, times, begin, asleep = Random(seed), [0.0], 0.0, False
    for _, seconds, level in PHASES:
        since = begin + (ALONE_SECONDS if asleep else 0.0)
        if asleep:
            times.append(begin)
        begin += seconds
        asleep = not level
        if level:
            times += [since + at for at in poisson(steady(level * pace), level * pace, begin - since, dice)]
    return times


async def ask(client: Upstream, due: float, begin: float, seen: list[Answer]) -> None:
    """One request, whatever becomes of it."""
    loop, body = asyncio.get_running_loop(), json.dumps({"text": TEXT}).encode()
    try:
        reply = await client.post("/v1/predict", b"", body, DEADLINE_SECONDS + 5.0)
        status, woken = reply.status, b"x-fastserve-woken" in reply.headers
    except BackendError:
        status, woken = 0, False
    seen.append(Answer(due, loop.time() - begin - due, status, woken))


async def drive(address: str, times: Sequence[float], seen: Seen, session: Path) -> None:
    """The load, and a look at everything twice a second."""
    client, loop = Upstream(address), asyncio.get_running_loop()
    begin, seen.phase = loop.time(), time.time() % ROW_SECONDS
    watching = asyncio.create_task(_watch(seen, session, begin))
    async with asyncio.TaskGroup() as group:
        for due in times:
            await asyncio.sleep(max(0.0, begin + due - loop.time()))
            group.create_task(ask(client, due, begin, seen.answers))
    await asyncio.sleep(LOOK_SECONDS * 4)
    watching.cancel()
    client.close()


async def _watch(seen: Seen, session: Path, begin: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        at = loop.time() - begin
        await asyncio.to_thread(look, seen, session, at)
        await asyncio.sleep(max(0.0, begin + at + LOOK_SECONDS - loop.time()))


def look(seen: Seen, path: Path, at: float) -> None:
    """At the session's file, and at what each router says."""
    session = Session.model_validate_json(path.read_text())
    pool = session.pools[0]
    places = {one.instance: one for one in pool.routers if one.member is not None}
    running = {
        (one.name.removesuffix("-router"), one.pid)
        for one in session.processes
        if one.kind is ProcessKind.ROUTER and one.pid is not None
    }
    ready, paces = 0, list[float]()
    for key in running:
        seen.starts.setdefault(key, at)
        told = _report(places[key[0]].admin) if key[0] in places else None
        if key[0] not in places:
            seen.left.setdefault(key, at)
        elif told is not None and told.ready:
            ready += 1
            seen.readies.setdefault(key, at)
            paces += [told.pace] if told.pace else []
            _keep(seen, told)
    for key in seen.starts.keys() - running:
        seen.ends.setdefault(key, at)
    asked = sum(one.replicas for one in pool.counts.values())
    pace = statistics.median_low(paces) if paces else 0.0
    seen.looks.append(Look(at, asked, len(running), ready, pace))


def _report(admin: str) -> LoadReport | None:
    try:
        with urllib.request.urlopen(f"http://{admin}/v1/load", timeout=1.0) as reply:
            return LoadReport.model_validate_json(reply.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _keep(seen: Seen, told: LoadReport) -> None:
    """What it says of itself, each row once."""
    if told.limit:
        seen.limits.append(told.limit)
    for row in told.rows:
        if row.own and row.waits:
            seen.rows[told.instance, row.at] = tuple(map(float, row.waits))


def gate_waits(seen: Seen) -> dict[int, float]:
    """By slot, the 95th percentile of waits by the routers' own word."""
    slots: dict[int, list[Sample]] = {}
    for (_, at), waits in seen.rows.items():
        slots.setdefault(at, []).append(Sample(float(at), waits=waits))
    return {at: quantile_of(samples, 0.95) for at, samples in sorted(slots.items())}


@dataclass(frozen=True)
class Measures:
    """What of a real run the simulation is given. `idle_seconds` is what an answer takes that waits for
    nobody, `known` the pace that the replicas told when the load began, 0 for none."""

    idle_seconds: float
    known: float
    pace: float
    limit: int
    loads: tuple[float, ...]
    linger: float

    @property
    def service(self) -> Service:
        return Service(BATCH, self.limit, (self.idle_seconds,))


def measures(seen: Seen, idle_seconds: float) -> Measures:
    """Loads count from the end of the slot by which a replica was asked for."""
    began = {key: at for key, at in seen.starts.items() if at > LOOK_SECONDS and key in seen.readies}
    loads = [seen.readies[key] - at + DECIDED_SECONDS for key, at in began.items()]
    paces = [one.pace for one in seen.looks if one.pace][-50:]
    lingers = [at - seen.left[key] for key, at in seen.ends.items() if key in seen.left]
    return Measures(
        idle_seconds=idle_seconds,
        known=seen.looks[0].pace,
        pace=statistics.median(paces) if paces else BATCH / WAIT_SECONDS,
        limit=round(statistics.median(seen.limits)) if seen.limits else 2 * BATCH,
        loads=tuple(round(one, 2) for one in loads) or (5.0,),
        linger=statistics.median(lingers) if lingers else 0.0,
    )


def simulated(seen: Seen, found: Measures, until: float, seed: int) -> Run:
    """The same requests, as far into a slot: what comes late in one is seen sooner."""
    times = sorted(one.due + seen.phase for one in seen.answers)
    terms = Terms(
        found.service,
        found.loads,
        in_order=True,
        least=0,
        most=MOST,
        start=max(1, seen.looks[0].ready),
        judged_from=seen.phase,
        until=until + seen.phase,
        target=TARGET,
        seed=seed,
        linger=found.linger,
    )
    bounds = Bounds(0, MOST, target_seconds=TARGET, idle_seconds=float(IDLE_SECONDS))
    return Simulation(times, Ours(bounds), terms, pace=found.known).run()


def measured(seeds: int, results: Path) -> int:
    """Run, simulate, print, write; 0 where nothing was lost and the simulation is near enough."""
    pace = BATCH / WAIT_SECONDS
    times, seen = due_times(pace, 1), Seen()
    until = sum(seconds for _, seconds, _ in PHASES)
    with (
        tempfile.TemporaryDirectory(prefix="fastserve-scaling-") as name,
        declared_wait(Path(name), BATCH, WAIT_SECONDS, SCALED) as overview,
    ):
        address = overview["url"].removeprefix("http://")
        asyncio.run(_warm(address))
        idle = asyncio.run(_idle_seconds(address))
        started = time.time()
        asyncio.run(drive(address, times, seen, Path(name) / "state" / "session.json"))
    found = measures(seen, idle)
    document = compared(seen, found, until, min(seeds, SIMULATED))
    document["gateWaitP95"] = {round(at - started): wait for at, wait in gate_waits(seen).items()}
    report.console.print_json(json.dumps({key: document[key] for key in ("measured", "real", "errors")}))
    report.write("scaling-real", document, results)
    _draw(seen, found, document, results)
    far = max(abs(one) for one in document["errors"].values())
    return int(document["real"]["lost"] > 0 or far > GOAL)


async def _warm(address: str) -> None:
    """Until somebody answers: it may sleep at first."""
    seen: list[Answer] = []
    client, loop = Upstream(address), asyncio.get_running_loop()
    while not any(one.status == 200 for one in seen):
        await ask(client, 0.0, loop.time(), seen)
    client.close()


async def _idle_seconds(address: str) -> float:
    """What an answer takes of which nothing waits, one after the other."""
    client, loop = Upstream(address), asyncio.get_running_loop()
    seen: list[Answer] = []
    for _ in range(PROBES):
        await ask(client, 0.0, loop.time(), seen)
    client.close()
    return statistics.median(one.seconds for one in seen)


def compared(seen: Seen, found: Measures, until: float, seeds: int) -> dict[str, Any]:
    """Real and simulated figures, and how far these are off."""
    real = _real(seen, found, until)
    runs = [simulated(seen, found, until, seed) for seed in range(seeds)]
    figures = _figures(runs)
    return {
        "targetSeconds": TARGET,
        "measured": {
            "idleSeconds": round(found.idle_seconds, 4),
            "pace": round(found.pace, 2),
            "paceKnown": round(found.known, 2),
            "limit": found.limit,
            "loadSeconds": found.loads,
            "lingerSeconds": round(found.linger, 2),
        },
        "real": real,
        "simulated": figures,
        "errors": {
            "waitP95": _error(figures, real, "waitP95"),
            "replicaSeconds": _error(figures, real, "replicaSeconds"),
        },
        "timeline": list(_timeline(seen, found, until)),
        "simulatedTimeline": [
            [
                one.at - seen.phase,
                one.arrivals / BIN_SECONDS,
                one.replica_seconds / BIN_SECONDS,
                quantile(one.waits, 0.95),
            ]
            for one in runs[0].bins
        ],
        "looks": [[round(one.at, 1), one.asked, one.running, one.ready] for one in seen.looks],
    }


def _real(seen: Seen, found: Measures, until: float) -> dict[str, float]:
    waits = [max(0.0, one.seconds - found.idle_seconds) for one in seen.answers if one.status == 200]
    return {
        "waitP95": round(quantile(waits, 0.95), 4),
        "inTime": round(sum(one <= TARGET for one in waits) / len(seen.answers), 4),
        "replicaSeconds": round(_replica_seconds(seen.looks, until), 1),
        "requests": len(seen.answers),
        "refused": sum(one.status == REFUSED for one in seen.answers),
        "lost": sum(one.status not in (200, REFUSED) for one in seen.answers),
        "woken": sum(one.woken for one in seen.answers),
    }


def _error(simulation: Mapping[str, float], real: Mapping[str, float], key: str) -> float:
    return round(simulation[key] / real[key] - 1.0, 4) if real[key] else 0.0


def _figures(runs: Sequence[Run]) -> dict[str, float]:
    return {
        "waitP95": round(statistics.fmean(quantile(one.waits, 0.95) for one in runs), 4),
        "inTime": round(statistics.fmean(_in_time(one) for one in runs), 4),
        "replicaSeconds": round(statistics.fmean(one.replica_seconds for one in runs), 1),
        "refused": statistics.fmean(one.lost for one in runs),
    }


def _in_time(run: Run) -> float:
    return sum(wait <= TARGET for wait in run.waits) / max(1, len(run.waits) + run.lost)


def _replica_seconds(looks: Sequence[Look], until: float) -> float:
    ends = [*(one.at for one in looks[1:]), until]
    return sum(one.running * max(0.0, min(end, until) - one.at) for one, end in zip(looks, ends, strict=True))


def _timeline(seen: Seen, found: Measures, until: float) -> Iterator[list[float]]:
    """Begin of each bin, requests per second, replicas that run, the 95th percentile of waits."""
    for number in range(int(until // BIN_SECONDS)):
        begin, end = number * BIN_SECONDS, (number + 1) * BIN_SECONDS
        own = [one for one in seen.answers if begin <= one.due < end]
        running = [one.running for one in seen.looks if begin <= one.at < end] or [0]
        waits = [max(0.0, one.seconds - found.idle_seconds) for one in own if one.status == 200]
        yield [begin, len(own) / BIN_SECONDS, statistics.fmean(running), quantile(waits, 0.95)]


def _draw(seen: Seen, found: Measures, document: Mapping[str, Any], folder: Path) -> None:
    """Load, replicas and waits, real and simulated."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    load, replicas, waits = figure.subplots(3, 1, sharex=True)
    real, simulation = document["timeline"], document["simulatedTimeline"]
    minutes = [one[0] / 60.0 for one in real]
    load.fill_between(minutes, [one[1] / found.pace for one in real], color="lightgrey")
    load.set_ylabel("load, replicas' worth")
    load.set_title("Local mode, and its simulation")
    looks, later = [one.at / 60.0 for one in seen.looks], [one[0] / 60.0 for one in simulation]
    replicas.plot(looks, [one.running for one in seen.looks], color="tab:red", label="run")
    replicas.plot(looks, [one.ready for one in seen.looks], color="tab:green", label="take requests")
    replicas.plot(
        later, [one[2] for one in simulation], color="black", ls="--", ds="steps-post", label="simulated"
    )
    replicas.set_ylabel("replicas")
    replicas.legend()
    waits.plot(minutes, [max(one[3], 0.001) for one in real], color="tab:red")
    waits.plot(later, [max(one[3], 0.001) for one in simulation], color="black", ls="--")
    waits.axhline(TARGET, color="grey", lw=0.8, ls="--")
    waits.set_yscale("log")
    waits.set_ylabel("95th percentile of waits, s")
    waits.set_xlabel("minutes")
    report.save(figure, "scaling-real", folder)
