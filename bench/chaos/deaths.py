"""Rows about processes that die or freeze under load.

Each comes when a full budget for asking twice has come together again: a second death within ten seconds of a
recovery finds a fifth of fewer calls, and may lose what is beyond that.
"""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import psutil

from chaos import sharded, swaps
from chaos.faults import rank_of, router_of, stub_of
from chaos.load import load_on
from chaos.records import LEARNT
from chaos.scoring import Death, Planned, Row, Whole, death_trials, lost_before, row
from chaos.swaps import REST_SECONDS, Ask
from chaos.world import World

DETECT_PATIENCE, RECOVER_PATIENCE = 10.0, 120.0
"""For so long it is waited for."""
UNPAUSED_SECONDS = 11.0
"""After a life of this length a process, and a group of ranks, is started again without a growing pause; and
the budget for asking twice is that of ten seconds of calls."""
TRITON_SECONDS = 16.0
"""After a life of this length a Triton that its router has started anew is started again without a pause; one
that loads for longer than that needs no rest."""


@dataclass(frozen=True)
class Fault:
    """Which process of which instance gets which signal, `rest` seconds after all was well; its answers are
    of the version `own`. `loads`: something has to be loaded until it answers again."""

    name: str
    aim: Callable[[World, str], psutil.Process]
    instance: str = sharded.INSTANCE
    own: int = LEARNT
    rest: float = UNPAUSED_SECONDS
    blow: signal.Signals = signal.SIGKILL
    loads: bool = True


FAULTS = (
    Fault("stub killed", stub_of),
    Fault("rank killed", rank_of),
    Fault("Triton killed", World.triton),
    Fault("Triton stopped", World.triton, blow=signal.SIGSTOP),
    Fault("router beside it killed", router_of, loads=False),
)
CUSTOM_FAULTS = (
    Fault("custom model's stub killed", stub_of, swaps.INSTANCE, swaps.A, TRITON_SECONDS),
    Fault("custom model's Triton killed", World.triton, swaps.INSTANCE, swaps.A),
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
    """Hurt one process, and look at what its router says until all is well."""
    before, victim = _load_seconds(world, fault), fault.aim(world, fault.instance)
    at = time.monotonic()
    victim.send_signal(fault.blow)
    seen = world.when(lambda: not world.ready(fault.instance), DETECT_PATIENCE)
    again = world.when(lambda: world.ready(fault.instance), RECOVER_PATIENCE)
    return Death(at, seen, again, fault.own, (before, _load_seconds(world, fault)))


def _load_seconds(world: World, fault: Fault) -> float:
    """What the last load took."""
    state = world.said(fault.instance) if fault.loads else None
    return state.model.load_seconds if state and state.model else 0.0
