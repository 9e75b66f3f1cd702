"""Rows about processes that die or freeze under load."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from chaos import sharded, swaps
from chaos.faults import killed, rank_killed, stub_killed, triton_frozen, triton_killed
from chaos.load import load_on
from chaos.records import LEARNT
from chaos.scoring import Death, Planned, Row, Whole, death_trials, lost_before, row
from chaos.swaps import REST_SECONDS, Ask
from chaos.world import World

DETECT_PATIENCE, RECOVER_PATIENCE = 10.0, 120.0
"""For so long it is waited for."""
STEADY_SECONDS = 11.0
"""After a life of this length whoever supervises a process starts it again without a growing pause."""


@dataclass(frozen=True)
class Fault:
    """What is done to which instance, whose answers are of the version `own`, so many seconds after it was
    well."""

    name: str
    do: Callable[[World, str], None]
    instance: str = sharded.INSTANCE
    own: int = LEARNT
    rest: float = REST_SECONDS


FAULTS = (
    Fault("stub killed", stub_killed),
    Fault("rank killed", rank_killed, rest=STEADY_SECONDS),
    Fault("Triton killed", triton_killed),
    Fault("Triton stopped", triton_frozen),
    Fault("router beside it killed", killed, rest=STEADY_SECONDS),
)
CUSTOM_FAULTS = (
    Fault("custom model's stub killed", stub_killed, swaps.INSTANCE, swaps.A, STEADY_SECONDS),
    Fault("custom model's Triton killed", triton_killed, swaps.INSTANCE, swaps.A, STEADY_SECONDS),
)


def rows(ask: Ask, faults: tuple[Fault, ...], trials: int) -> Iterator[Planned]:
    """One row for each fault."""
    for fault in faults:
        yield Planned(fault.name, partial(death_row, fault, ask, trials))


def death_row(fault: Fault, ask: Ask, count: int) -> Row:
    """The same fault so many times under load, each after all is well again."""
    with load_on(ask.load, fault.name) as load:
        deaths = []
        for _ in range(count):
            time.sleep(fault.rest)
            deaths.append(death(ask.world, fault))
        time.sleep(REST_SECONDS)
    sent = load.made.sent
    trials = list(death_trials(sent, deaths, frozenset({sharded.NEIGHBOUR})))
    return row(fault.name, trials, Whole(load.made, lost_before(sent, deaths[0].at)))


def death(world: World, fault: Fault) -> Death:
    """Hurt one process, and look at what its router says until all is well. The load time is the one that
    the recovery needed."""
    at = time.monotonic()
    fault.do(world, fault.instance)
    seen = world.when(lambda: not world.ready(fault.instance), DETECT_PATIENCE)
    again = world.when(lambda: world.ready(fault.instance), RECOVER_PATIENCE)
    state = world.said(fault.instance)
    loaded = state.model.load_seconds if state and state.model else 0.0
    return Death(at, seen, again, fault.own, loaded)
