"""Ours beside others on the same traces: tuned on one part of each, judged by another.

A setting is chosen as its user would: the cheapest that keeps the target on the tuning part, else the one
that comes nearest to it. The clairvoyant one is chosen by what is judged itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from math import ceil
from multiprocessing import Pool
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import track

from scaling.candidates import BOUND, OURS, OURS_TUNED, bounds, settings
from scaling.judging import ATTAINED, Figures, figures, quantile, ratio
from scaling.simulate import Run, Service, Simulation, Terms
from scaling.traces import LEAD_SECONDS, REAL, SHAPES, Trace, trace_of

FAMILIES = (*REAL, *SHAPES)
SERVICE = Service(batch=2, limit=4, seconds=(0.05, 0.0502, 0.0505, 0.051))
LOCAL_LOADS = (3.2, 3.6, 4.1, 4.7, 5.2, 5.9)
"""Seconds from the start of a router and its Triton in local mode to the first answer."""
SPREAD = (0.85, 0.92, 0.97, 1.0, 1.05, 1.21)
TUNING_SEEDS = 2
WORKERS = 2


@dataclass(frozen=True)
class Job:
    """One run; `setting` is its place among its scaler's."""

    family: str
    load: float
    scaler: str
    setting: int
    seed: int
    tuned: bool
    pace: float = 0.0
    windows: bool = False
    data: Path = Path()


@dataclass(frozen=True)
class Told:
    """What came of a job."""

    job: Job
    figures: Figures
    pace: float
    timeline: Sequence[tuple[float, float, float, float]] = ()
    """Begin of each bin, requests per second, replicas, the 95th percentile of waits; of the first seed."""


@dataclass(frozen=True)
class Judged:
    """One scaler on one trace family: its setting, and what came of it, by seed."""

    scaler: str
    setting: str
    runs: tuple[Figures, ...]
    timeline: Sequence[tuple[float, float, float, float]] = ()

    def mean(self, name: str) -> float:
        return fmean(getattr(one, name) for one in self.runs)


def loads_of(load: float) -> tuple[float, ...]:
    """A list that a load time is drawn from; 0 are those measured in local mode."""
    return tuple(load * one for one in SPREAD) if load else LOCAL_LOADS


@lru_cache(maxsize=4)
def _trace(family: str, seed: int, data: Path, tuned: bool) -> Trace:
    return trace_of(family, SERVICE.pace, seed, data, tuned=tuned)


def terms_of(trace: Trace, load: float, seed: int) -> Terms:
    """It begins with what the first minute takes."""
    first = sum(at < 60.0 for at in trace.arrivals) / 60.0 / SERVICE.pace
    return Terms(
        SERVICE,
        loads_of(load),
        least=trace.least,
        start=max(1, ceil(first / 0.7)),
        judged_from=LEAD_SECONDS,
        until=trace.until,
        seed=seed,
    )


def work(job: Job) -> Told:
    """In a process of its own."""
    trace = _trace(job.family, job.seed, job.data, job.tuned)
    terms = terms_of(trace, job.load, job.seed)
    choice = bounds() if job.scaler == BOUND else settings(SERVICE.pace, windows=job.windows)[job.scaler]
    scaler = choice[job.setting].make(terms, trace.arrivals)
    run = Simulation(trace.arrivals, scaler, terms, pace=job.pace).run()
    seen = timeline(run) if not job.seed and not job.tuned else ()
    return Told(job, figures(run, terms), run.pace, seen)


def timeline(run: Run) -> list[tuple[float, float, float, float]]:
    return [
        (one.at, one.arrivals / 10.0, one.replica_seconds / 10.0, round(quantile(one.waits, 0.95), 4))
        for one in run.bins
    ]


def compare(
    families: Sequence[str], loads: Sequence[float], seeds: int, data: Path, *, windows: bool = False
) -> Iterator[tuple[str, float, list[Judged]]]:
    """Each family under each load time, by all scalers."""
    with Pool(WORKERS) as pool:
        for family in families:
            for load in loads:
                jobs = list(_tuning(family, load, data, windows=windows))
                told = _all(pool, jobs, f"{family}, load {load:g} s: tuning")
                chosen = {name: _chosen(told, name) for name in settings(SERVICE.pace, windows=windows)}
                paces = {name: _pace(told, one) for name, one in chosen.items()}
                jobs = list(
                    _judging(Job(family, load, "", 0, 0, False, 0.0, windows, data), chosen, paces, seeds)
                )
                judged = _all(pool, jobs, f"{family}, load {load:g} s: judging")
                yield family, load, [*_judged(judged, chosen, windows=windows), _bound_of(judged, seeds)]


def _all(pool: Any, jobs: Sequence[Job], words: str) -> list[Told]:
    console = Console(stderr=True)
    found = pool.imap_unordered(work, jobs, chunksize=4)
    return list(track(found, words, len(jobs), console=console, disable=not console.is_terminal))


def _tuning(family: str, load: float, data: Path, *, windows: bool) -> Iterator[Job]:
    for seed in range(TUNING_SEEDS):
        for name, choice in settings(SERVICE.pace, windows=windows).items():
            for place in range(len(choice)):
                yield Job(family, load, name, place, seed, True, 0.0, windows, data)


def _chosen(told: Sequence[Told], scaler: str) -> int:
    """The place of the setting that its user would take."""
    by_place: dict[int, list[Figures]] = {}
    for one in told:
        if one.job.scaler == scaler:
            by_place.setdefault(one.job.setting, []).append(one.figures)
    means = {
        place: (fmean(one.attainment for one in runs), fmean(one.replica_seconds for one in runs))
        for place, runs in by_place.items()
    }
    return choose(means)


def choose(means: Mapping[int, tuple[float, float]]) -> int:
    """The cheapest that attains what is to be attained, else who attains most."""
    good = [place for place, (attained, _) in means.items() if attained >= ATTAINED]
    if good:
        return min(good, key=lambda place: means[place][1])
    return max(means, key=lambda place: means[place][0])


def _pace(told: Sequence[Told], place: int) -> float:
    """What ours learnt on the tuning part of how much a replica does; it is the same service."""
    return max(
        (one.pace for one in told if one.job.scaler in (OURS, OURS_TUNED) and one.job.setting == place),
        default=0.0,
    )


def _judging(job: Job, chosen: Mapping[str, int], paces: Mapping[str, float], seeds: int) -> Iterator[Job]:
    for seed in range(seeds):
        for name, place in chosen.items():
            yield replace(job, scaler=name, setting=place, seed=seed, pace=paces[name])
        for place in range(len(bounds())):
            yield replace(job, scaler=BOUND, setting=place, seed=seed)


def _judged(told: Sequence[Told], chosen: Mapping[str, int], *, windows: bool) -> Iterator[Judged]:
    for name, choice in settings(SERVICE.pace, windows=windows).items():
        own = sorted((one for one in told if one.job.scaler == name), key=lambda one: one.job.seed)
        runs = tuple(one.figures for one in own)
        yield Judged(name, choice[chosen[name]].told, runs, own[0].timeline)


def _bound_of(told: Sequence[Told], seeds: int) -> Judged:
    """For each seed the cheapest that attains it."""
    best = []
    for seed in range(seeds):
        own = {one.job.setting: one for one in told if one.job.scaler == BOUND and one.job.seed == seed}
        means = {place: (one.figures.attainment, one.figures.replica_seconds) for place, one in own.items()}
        best.append(own[choose(means)])
    return Judged(BOUND, "use by seed", tuple(one.figures for one in best), best[0].timeline)


def best_peer(judged: Sequence[Judged]) -> Judged:
    """The cheapest that attains what is to be attained, or what ours attains where that is less; else who
    attains most."""
    ours = next(one for one in judged if one.scaler == OURS)
    peers = [one for one in judged if one.scaler not in (OURS, OURS_TUNED, BOUND)]
    bar = min(ATTAINED, ours.mean("attainment"))
    places = {
        place: (one.mean("attainment") - bar + ATTAINED, one.mean("replica_seconds"))
        for place, one in enumerate(peers)
    }
    return peers[choose(places)]


def verdict(judged: Sequence[Judged], name: str = OURS) -> dict[str, Any]:
    """Ours beside the best of the others."""
    ours, peer = next(one for one in judged if one.scaler == name), best_peer(judged)
    own, others = ([one.replica_seconds for one in each.runs] for each in (ours, peer))
    mean, low, high = ratio(own, others)
    return {
        "ours": round(ours.mean("attainment"), 4),
        "bestPeer": peer.scaler,
        "bestPeerSetting": peer.setting,
        "bestPeerAttainment": round(peer.mean("attainment"), 4),
        "replicaSecondsRatio": round(mean, 3),
        "interval95": [round(low, 3), round(high, 3)],
        "attained": ours.mean("attainment") >= ATTAINED,
        "peersThatAttain": [
            one.scaler
            for one in judged
            if one.scaler not in (OURS, OURS_TUNED, BOUND) and one.mean("attainment") >= ATTAINED
        ],
    }


def as_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    names = [name for name in asdict(judged[0].runs[0]) if name != "requests"]
    return [
        {
            "scaler": one.scaler,
            "setting": one.setting,
            **{_camel(name): round(one.mean(name), 4) for name in names},
            "replicaSecondsBySeed": [run.replica_seconds for run in one.runs],
            "attainmentBySeed": [run.attainment for run in one.runs],
        }
        for one in judged
    ]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
