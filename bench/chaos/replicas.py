"""Rows about one of two replicas that is slow, or fails half of its requests."""

import re
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from chaos.faults import ill
from chaos.load import load_on
from chaos.model import Ground, write_model
from chaos.scoring import Illness, Planned, Row, Whole, illness_trials, lost_before, row
from chaos.swaps import Ask
from chaos.world import ASKED_FOR, ILLNESSES, Part, World

NAME, ILL = "twins", "twins-0"
REST_SECONDS, ILL_SECONDS = 3.0, 10.0
EJECT_PATIENCE, RETURN_PATIENCE = 20.0, 90.0
REQUESTS = re.compile(rb"^fastserve_requests_total\{[^}]*\} (\S+)$", re.MULTILINE)


def parts_of(folder: Path, ground: Ground) -> list[Part]:
    """One sub-model with two replicas."""
    return [Part(NAME, ASKED_FOR, write_model(folder / "twin", 0, ground), replicas=2)]


def rows(ask: Ask, trials: int) -> Iterator[Planned]:
    for illness, name in (("slow", "replica 10 times slower"), ("failing half", "replica failing half")):
        yield Planned(name, partial(illness_row, name, ask, trials, illness))


def illness_row(name: str, ask: Ask, count: int, illness: str) -> Row:
    """The same illness so many times under load, each after the replica is asked again."""
    with load_on(ask.load, name) as load:
        illnesses = []
        for _ in range(count):
            time.sleep(REST_SECONDS)
            illnesses.append(_illness(ask, illness))
        time.sleep(REST_SECONDS)
    sent = load.made.sent
    whole = Whole(load.made, lost_before(sent, illnesses[0].began))
    return row(name, list(illness_trials(sent, illnesses)), whole)


def _illness(ask: Ask, illness: str) -> Illness:
    world = ask.world
    calls, requests = _counts(world)
    began = time.monotonic()
    with ill(ask.folder / ILLNESSES, ILL, illness):
        seen = world.when(lambda: _standing(world) == "Ejected", EJECT_PATIENCE)
        time.sleep(ILL_SECONDS)
        more_calls, more_requests = _counts(world)
    healed = time.monotonic()
    again = world.when(lambda: _standing(world) == "Healthy", RETURN_PATIENCE)
    return Illness(began, healed, seen, again, more_requests - requests, more_calls - calls)


def _standing(world: World) -> str:
    """What the door thinks of the replica that is ill."""
    place = next(one for one in world.place.routers if one.instance == ILL)
    state = world.said(world.place.door.instance)
    return next((one.health for one in state.peers if one.address == place.data), "") if state else ""


def _counts(world: World) -> tuple[float, float]:
    """Requests that came to the replicas' routers so far, and to the door."""
    counts = {one.instance: _requests(one.admin) for one in world.place.routers}
    door = counts.pop(world.place.door.instance)
    return sum(counts.values()), door


def _requests(admin: str) -> float:
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as answer:
        return sum(float(value) for value in REQUESTS.findall(answer.read()))
