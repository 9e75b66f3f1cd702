"""Rows about exchanges of versions: A→B→A under load, and what can go wrong on the way."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.faults import full_disk, killed_at, may_mount
from chaos.load import LoadPlan, load_on
from chaos.model import HANGING, SPOILT, Ground, write_model
from chaos.scoring import P99_RATIO, Planned, Row, Swap, Whole, lost_before, p99_ratio, row, swap_trials
from chaos.world import ASKED_FOR, ELSEWHERE, Never, Part, World

NAME, INSTANCE = "swapped", "swapped-0"
REST_SECONDS, SETTLE_SECONDS, ENDING_SECONDS = 2.0, 60.0, 10.0
HANG_SECONDS = 8
"""After so long a version that is never loaded is refused."""
A, B, SPOILT_ONE, MISSHAPEN, HANGING_ONE, NEIGHBOUR = 0, 1, 2, 3, 4, 7
OTHERS = frozenset({NEIGHBOUR})
STEPS = ("Load", "Prove", "Switch", "Unload", "Remove")
LEAVING_STEPS = ("Leave", "Unload", "Load", "Prove", "Switch")
"""Steps of the router, by its log, after which it is killed."""
PLAIN = "A→B→A"
RECREATE: Mapping[str, Any] = {"type": "Recreate"}


@dataclass(frozen=True)
class Ask:
    """What a row is made of: its pool, how much load, where records and models lie, what the load is to
    expect, and the two versions that are exchanged."""

    world: World
    rate: float
    folder: Path
    learnt: Path | None = None
    pair: tuple[int, int] = (A, B)

    @property
    def load(self) -> LoadPlan:
        return LoadPlan(self.world.address, self.rate, self.folder, self.learnt)


def parts_of(folder: Path, ground: Ground) -> list[Part]:
    """Writes the models of the versions; the pool: one whose versions are exchanged, and a neighbour."""
    for number, initialize in ((SPOILT_ONE, SPOILT), (HANGING_ONE, HANGING)):
        write_model(folder_of(folder, number), number, ground, initialize)
    for number in (A, B, MISSHAPEN, NEIGHBOUR):
        write_model(folder_of(folder, number), number, ground)
    config = folder_of(folder, MISSHAPEN) / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "scores"', 'name: "numbers"'))
    return [
        Part(NAME, ASKED_FOR, folder_of(folder, A), version="a"),
        Part("neighbour", ELSEWHERE, folder_of(folder, NEIGHBOUR), version="neighbour"),
    ]


def folder_of(folder: Path, number: int) -> Path:
    """Where the model of a version lies."""
    return folder / f"version-{number}"


class Exchanges:
    """Exchanges of one sub-model, one after another; remembers which version answers."""

    def __init__(self, ask: Ask) -> None:
        self._ask, self._world = ask, ask.world
        (self._a, self._b), self._count = ask.pair, 0
        self._now = self._a

    def to_the_other(self, step: str = "", **changes: Any) -> Swap:
        """A→B or B→A; where a step is named the router is killed after it."""
        before, wanted = self._now, self._b if self._now == self._a else self._a
        with killed_at(self._world, INSTANCE, step) if step else nullcontext():
            asked = self._write(wanted, **changes)
            if not step:
                self._until_settled(wanted)
        if step:
            self._until_settled(wanted)
        meanwhile = frozenset({before, wanted})
        return Swap(asked, time.monotonic(), before, self._which(), wanted, meanwhile, orderly=not step)

    def refused(self, number: int, **changes: Any) -> Swap:
        """To a version that cannot be; ends in the one that answers."""
        before = self._now
        asked = self._write(number, **changes)
        told = self._settle(lambda: self._world.refused(NAME))
        self._write(before, rollout={})
        self._until_settled(before)
        return Swap(asked, time.monotonic(), before, self._which(), None, frozenset({before}), told=told)

    def home(self) -> None:
        """Back to the first one, without a word about it."""
        if self._now != self._a:
            self._write(self._a, rollout={})
            self._until_settled(self._a)
        if self._now != self._a:
            raise Never(f"{NAME} did not come back to its first version")

    def _write(self, number: int, **changes: Any) -> float:
        self._count += 1
        asked = time.monotonic()
        self._world.change(
            NAME, model=folder_of(self._ask.folder, number), version=self._version(number), **changes
        )
        return asked

    def _version(self, number: int) -> str:
        # What cannot be is told apart each time: what was refused once is not tried again.
        return {self._a: "a", self._b: "b"}.get(number, f"{number}-{self._count}")

    def _until_settled(self, number: int) -> None:
        if self._settle(lambda: self._world.serves(NAME, self._version(number))):
            self._now = number

    def _settle(self, true: Callable[[], bool]) -> bool:
        return self._world.when(true, SETTLE_SECONDS) is not None

    def _which(self) -> int | None:
        """The version that answers alone."""
        return next((one for one in self._ask.pair if self._world.serves(NAME, self._version(one))), None)


def swap_row(name: str, ask: Ask, count: int, one: Callable[[Exchanges, int], Swap]) -> Row:
    """So many exchanges under load, with a rest before each."""
    world, exchanges = ask.world, Exchanges(ask)
    with load_on(ask.load, name) as load:
        time.sleep(REST_SECONDS)
        before, swaps = world.memory(INSTANCE), []
        for number in range(count):
            time.sleep(REST_SECONDS)
            swaps.append(one(exchanges, number))
        time.sleep(REST_SECONDS)
    exchanges.home()
    world.when(lambda: world.models_in(INSTANCE) == 1, ENDING_SECONDS)  # a load that hangs stays
    memory, sent = world.memory(INSTANCE) / before, load.made.sent
    # Nothing goes wrong in it, so nobody else is to answer; and a declared service time can be held against.
    alone, timed = one is plain, one is plain and ask.learnt is None
    ratio = p99_ratio(sent, swaps)
    short = lost_before(sent, swaps[0].asked) + (("p99",) if timed and ratio > P99_RATIO else ())
    whole = Whole(load.made, short, {"p99 ratio": ratio, "memory ratio": memory})
    return row(name, list(swap_trials(sent, swaps, frozenset() if alone else OTHERS)), whole)


def planned(name: str, ask: Ask, count: int, one: Callable[[Exchanges, int], Swap]) -> Planned:
    return Planned(name, lambda: swap_row(name, ask, count, one))


def rows(ask: Ask, swaps: int, trials: int) -> Iterator[Planned]:
    """All rows about exchanges; `swaps` of the plain one, `trials` of each that goes wrong; in those where a
    router is killed that is after each step by turns."""
    yield planned(PLAIN, ask, swaps, plain)
    yield planned("memory for one", ask, trials, for_one)
    yield planned("corrupt B", ask, trials, corrupt)
    yield planned("corrupt B, memory for one", ask, trials, _corrupt_for_one)
    yield planned("B loads forever", ask, trials, _hanging)
    yield Planned("disk full", lambda: _full_disk_row(ask, trials))
    yield planned("router killed", ask, trials, router_killed)
    yield planned("router killed, memory for one", ask, trials, _killed_leaving)


def _is_tidy(world: World) -> bool:
    """Whether the version that serves is all that is left of what was tried."""
    return len(list((world.state / "tritons" / INSTANCE).iterdir())) == 1


def _full_disk_row(ask: Ask, trials: int) -> Row:
    """Not kept where no disk may be mounted: what was not tried must show."""
    if not may_mount():
        return Row("disk full", 0, 0, {}, {"no right to mount a disk": 1}, {})
    triton = ask.world.triton(INSTANCE)
    triton.kill()  # and with it loads that hang since the row before
    ask.world.until(lambda: not triton.is_running(), SETTLE_SECONDS)
    # What is cleared away later would make room on the disk that is full.
    ask.world.until(lambda: ask.world.ready(INSTANCE) and _is_tidy(ask.world), SETTLE_SECONDS)
    return swap_row("disk full", ask, trials, lambda one, _: _on_full_disk(one, ask.world))


def plain(exchanges: Exchanges, _number: int) -> Swap:
    return exchanges.to_the_other(rollout={})


def for_one(exchanges: Exchanges, _number: int) -> Swap:
    return exchanges.to_the_other(rollout=RECREATE)


def corrupt(exchanges: Exchanges, number: int) -> Swap:
    """By turns one whose code fails and one with another face."""
    return exchanges.refused((SPOILT_ONE, MISSHAPEN)[number % 2], rollout={})


def _corrupt_for_one(exchanges: Exchanges, number: int) -> Swap:
    return exchanges.refused((SPOILT_ONE, MISSHAPEN)[number % 2], rollout=RECREATE)


def _hanging(exchanges: Exchanges, _number: int) -> Swap:
    return exchanges.refused(HANGING_ONE, rollout={"progressDeadlineSeconds": HANG_SECONDS})


def _on_full_disk(exchanges: Exchanges, world: World) -> Swap:
    with full_disk(world, INSTANCE):
        return exchanges.refused(B)


def router_killed(exchanges: Exchanges, number: int) -> Swap:
    """After each step by turns."""
    return exchanges.to_the_other(STEPS[number % len(STEPS)], rollout={})


def _killed_leaving(exchanges: Exchanges, number: int) -> Swap:
    return exchanges.to_the_other(LEAVING_STEPS[number % len(LEAVING_STEPS)], rollout=RECREATE)
