"""When requests come: a real trace and synthetic shapes, each with a part to tune on and one to judge by.

Rates are in replicas' worth: 1 is what one replica answers at the most.
"""

import csv
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import cos, pi, sqrt
from pathlib import Path
from random import Random

LEAD_SECONDS = 300.0
"""Before what is judged, so that nobody begins without a history."""
JITTER_SECONDS = 1.0
TUNED_SECONDS = 1200.0
AZURE_PEAK = 6.0
"""Replicas' worth of the busiest minute of a real trace."""
Rate = Callable[[float], float]


@dataclass(frozen=True)
class Trace:
    """Sorted times, the first LEAD_SECONDS of which are not judged."""

    name: str
    arrivals: Sequence[float]
    until: float
    least: int = 1


def steady(level: float) -> Rate:
    """Always the same."""
    return lambda _now: level


def poisson(rate: Rate, most: float, until: float, dice: Random) -> list[float]:
    """Random times at a rate that changes (thinning: Lewis and Shedler, 1979)."""
    found, now = [], dice.expovariate(most)
    while now < until:
        if dice.random() * most < rate(now):
            found.append(now)
        now += dice.expovariate(most)
    return found


def step(pace: float, dice: Random) -> Trace:
    """A few levels, each for some minutes."""
    begins, levels, at = [0.0], [dice.uniform(1.0, 2.5)], LEAD_SECONDS + dice.uniform(120.0, 300.0)
    while at < LEAD_SECONDS + 2100.0:
        begins.append(at)
        levels.append(dice.uniform(3.0, 6.0) if len(levels) % 2 else dice.uniform(0.5, 2.0))
        at += dice.uniform(240.0, 480.0)
    until = LEAD_SECONDS + 2400.0
    return Trace("step", poisson(_levels(begins, levels, pace), 6.0 * pace, until, dice), until)


def _levels(begins: Sequence[float], levels: Sequence[float], pace: float) -> Rate:
    def rate(now: float) -> float:
        return levels[bisect_left(begins, now) - 1 if now else 0] * pace

    return rate


def ramp(pace: float, dice: Random) -> Trace:
    """Up over some minutes, a while there, and down."""
    low, high = dice.uniform(0.5, 1.0), dice.uniform(5.0, 7.0)
    begin = LEAD_SECONDS + dice.uniform(60.0, 200.0)
    up, stay, down = dice.uniform(400.0, 800.0), dice.uniform(200.0, 400.0), dice.uniform(300.0, 600.0)

    def rate(now: float) -> float:
        risen = min(1.0, max(0.0, (now - begin) / up))
        fallen = min(1.0, max(0.0, (now - begin - up - stay) / down))
        return pace * (low + (high - low) * (risen - fallen))

    until = LEAD_SECONDS + 2400.0
    return Trace("ramp", poisson(rate, high * pace, until, dice), until)


def bursts(pace: float, dice: Random) -> Trace:
    """Little, and every few minutes much for half a minute or more."""
    base, until = dice.uniform(0.8, 1.4), LEAD_SECONDS + 2400.0
    begins, levels, at = [0.0], [base], dice.uniform(60.0, 200.0)
    while at < until:
        begins += [at, at + dice.uniform(30.0, 90.0)]
        levels += [dice.uniform(3.0, 5.0), base]
        at = begins[-1] + dice.uniform(120.0, 300.0)
    return Trace("bursts", poisson(_levels(begins, levels, pace), 5.0 * pace, until, dice), until)


def day(pace: float, dice: Random) -> Trace:
    """Days of 40 minutes, each a little different."""
    length, low = 2400.0, dice.uniform(0.4, 0.8)
    highs = [dice.uniform(4.0, 6.0) for _ in range(3)]
    shift = dice.uniform(0.0, length)

    def rate(now: float) -> float:
        number, passed = divmod(now + shift, length)
        high = highs[int(number) % len(highs)]
        risen = 0.5 - 0.5 * cos(2.0 * pi * passed / length)
        return pace * (low + (high - low) * risen * sqrt(risen))

    until = LEAD_SECONDS + 3600.0
    return Trace("day", poisson(rate, 6.0 * pace, until, dice), until)


def sparse(pace: float, dice: Random) -> Trace:
    """Nobody for many minutes, somebody for a few."""
    until = LEAD_SECONDS + 7200.0
    begins, levels, at = [0.0], [0.3], dice.uniform(100.0, 200.0)
    while at < until:
        begins += [at, at + dice.uniform(200.0, 1200.0)]
        levels += [0.0, dice.uniform(0.1, 1.2)]
        at = begins[-1] + dice.uniform(60.0, 300.0)
    return Trace("sparse", poisson(_levels(begins, levels, pace), 1.2 * pace, until, dice), until, least=0)


def azure(data: Path, service: str) -> list[float]:
    """Seconds of one hour of a real service's requests."""
    with (data / "azure-llm-trace" / f"{service}.csv").open() as file:
        times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(file)]
    return [one - times[0] for one in sorted(times)]


def scaled(times: Sequence[float], pace: float, begin: float, until: float, dice: Random) -> list[float]:
    """A part of a real trace, with as many more requests as it takes: each stands for a random number
    (Poisson's) of requests within JITTER_SECONDS of it."""
    minutes = [0] * (int(times[-1] // 60.0) + 1)
    for one in times:
        minutes[int(one // 60.0)] += 1
    factor = AZURE_PEAK * pace * 60.0 / max(minutes)
    found = []
    for one in times[bisect_left(times, begin) : bisect_left(times, until)]:
        due = dice.expovariate(factor)
        while due < 1.0:
            found.append(max(0.0, one - begin + dice.uniform(-JITTER_SECONDS, JITTER_SECONDS)))
            due += dice.expovariate(factor)
    return sorted(found)


def real(name: str, times: Sequence[float], pace: float, dice: Random, *, tuned: bool) -> Trace:
    """The first minutes of a real trace, or the rest."""
    begin = 0.0 if tuned else TUNED_SECONDS - LEAD_SECONDS
    until = TUNED_SECONDS if tuned else times[-1] // 60.0 * 60.0
    return Trace(name, scaled(times, pace, begin, until, dice), until - begin)


SHAPES: dict[str, Callable[[float, Random], Trace]] = {
    "step": step,
    "ramp": ramp,
    "bursts": bursts,
    "day": day,
    "sparse": sparse,
}
REAL = {"conv": "azure conversation", "code": "azure code"}


def trace_of(family: str, pace: float, seed: int, data: Path, *, tuned: bool) -> Trace:
    """One trace of a family, to tune on or to judge by: these have no seed in common."""
    dice = Random(f"{family} {seed} {'tuned' if tuned else 'judged'}")
    if family in REAL:
        return real(family, azure(data, family), pace, dice, tuned=tuned)
    return SHAPES[family](pace, dice)
