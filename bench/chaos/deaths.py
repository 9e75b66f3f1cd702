"""Rows about processes that die or freeze under load."""

import time
from collections.abc import Callable, Iterator

from chaos.faults import killed, stub_killed, triton_frozen, triton_killed
from chaos.load import load_on
from chaos.scoring import Death, Row, Whole, death_trials, row
from chaos.swaps import INSTANCE, REST_SECONDS, A, Ask
from chaos.world import World

FAULTS: tuple[tuple[str, Callable[[World, str], None]], ...] = (
    ("stub killed", stub_killed),
    ("Triton killed", triton_killed),
    ("Triton stopped", triton_frozen),
    ("router of it killed", killed),
)
DETECT_PATIENCE, RECOVER_PATIENCE = 10.0, 60.0
"""For so long it is waited for."""


def rows(ask: Ask, trials: int) -> Iterator[Row]:
    for name, fault in FAULTS:
        yield death_row(name, ask, trials, fault)


def death_row(name: str, ask: Ask, count: int, fault: Callable[[World, str], None]) -> Row:
    """The same fault so many times under load, each after all is well again."""
    world = ask.world
    with load_on(world.address, ask.rate, name, ask.folder) as load:
        deaths = []
        for _ in range(count):
            time.sleep(REST_SECONDS)
            deaths.append(death(world, INSTANCE, fault))
        time.sleep(REST_SECONDS)
    return row(name, list(death_trials(load.made.sent, deaths)), Whole(load.made))


def death(world: World, instance: str, fault: Callable[[World, str], None]) -> Death:
    """Hurt one process, and look at what its router says until all is well."""
    state = world.said(instance)
    loaded = state.model.load_seconds if state and state.model else 0.0
    at = time.monotonic()
    fault(world, instance)
    seen = world.when(lambda: not world.ready(instance), DETECT_PATIENCE)
    again = world.when(lambda: world.ready(instance), RECOVER_PATIENCE)
    return Death(at, seen, again, A, loaded)
