"""The scaler of a session with real processes, which only wait: as many replicas as are asked for."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from fastserve.api.routes import Member
from fastserve.errors import LocalError
from fastserve.local import scaling
from fastserve.local.applying import ApplyOptions, apply
from fastserve.local.documents import Launch, ProcessKind, ProcessSpec, RouterPlace, Session
from fastserve.local.environment import Environment, TritonHome
from fastserve.local.exchanging import exchange_versions
from fastserve.local.folders import Folders
from fastserve.local.ground import Ground
from fastserve.local.launching import launch
from fastserve.local.machine import Memory, this_machine
from fastserve.local.outfitting import Outfit
from fastserve.local.pool_files import PEERS, SCALE, read_table
from fastserve.local.preparing import engine_home, plans_for, read
from fastserve.local.room import GIB
from fastserve.local.roster import Roster
from fastserve.local.scaling import Scaler
from fastserve.local.supervisor import Supervisor

POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: news}
spec: {}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: sport}
spec:
  poolRef: {name: news}
  examples: [Who won the match?]
  model: {storageUri: "file://./model"}
"""
CONFIG = '{"model_type": "bert", "num_attention_heads": 2, "hidden_size": 4, "intermediate_size": 8}'
SCALED = "  autoscaling: {minReplicas: 0, maxReplicas: 3}\n"
ROUTER = """
import pathlib, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
print("up", flush=True)
while not asked or pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
"""
"""It ends when it is asked to and no file says that it has requests."""
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@dataclass
class Home:
    """A session of one pool whose processes wait. `free` is the machine's memory, of 16 GiB."""

    files: Path
    state: Path
    free: int = 16 * GIB
    gpus: tuple[str, ...] = ()
    roster: Roster = field(init=False)
    supervisor: Supervisor = field(init=False)
    made: Launch = field(init=False)

    def __post_init__(self) -> None:
        model = self.files / "model"
        model.mkdir(parents=True)
        for name, text in (("config.json", CONFIG), ("tokenizer.json", "{}"), ("model.safetensors", "x")):
            (model / name).write_text(text)

    @property
    def folder(self) -> Path:
        return self.roster.place.folder

    @property
    def busy(self) -> Path:
        return self.files / "busy"

    @property
    def member(self) -> Member:
        return read_table(self.folder).members[0]

    @property
    def serving(self) -> list[str]:
        return [one.instance for one in self.roster.place.routers if one.member]

    @property
    def peers(self) -> list[str]:
        return [one["instance"] for one in json.loads((self.folder / PEERS).read_text())["peers"]]

    @property
    def running(self) -> set[str]:
        """Processes besides the door."""
        return {one.name for one in self.supervisor.processes() if one.kind is not ProcessKind.DOOR}

    def pid(self, name: str) -> int | None:
        return next((one.pid for one in self.supervisor.processes() if one.name == name), None)

    def counts(self) -> tuple[int, int]:
        """Replicas that are to run, and those that do not fit, as routers read it."""
        staff = self.member.staff
        assert staff is not None
        return staff.replicas, staff.unplaced

    def ask(self, **replicas: int) -> None:
        new = self.folder / "new"
        new.write_text(json.dumps({"replicas": replicas}))
        new.replace(self.folder / SCALE)

    def write(self, more: str = SCALED) -> None:
        (self.files / "pool.yaml").write_text(POOL + more)

    def launch(self, more: str = SCALED) -> None:
        self.write(more)
        environment = Environment(
            TritonHome(self.files, self.files, "", self.files, "3.11"), self.files, self.files, self.files
        )
        folders = Folders(data=self.files, state=self.state)
        planned = plans_for(
            read([self.files / "pool.yaml"]), engine_home(environment), this_machine(",".join(self.gpus))
        )
        self.made = launch(planned, Ground(environment, folders, self.gpus), 0)
        self.roster = Roster(self.made.pools[0])

    def apply(self, more: str) -> list[str]:
        self.write(more)
        session = Session(pid=1, created=0.0, pools=(self.roster.place,), processes=())
        folders = Folders(data=self.files, state=self.state)
        return apply(ApplyOptions((self.files / "pool.yaml",), folders, ",".join(self.gpus)), session)

    def waiting(self, place: RouterPlace) -> list[ProcessSpec]:
        """Processes that take the place of a Triton and its router."""
        log = self.files / f"{place.instance}.log"
        router = (sys.executable, "-c", ROUTER, str(self.busy))
        return [
            ProcessSpec(name=f"{place.instance}-triton", kind=ProcessKind.TRITON, arguments=SLEEPER, log=log),
            ProcessSpec(name=f"{place.instance}-router", kind=ProcessKind.ROUTER, arguments=router, log=log),
        ]

    @asynccontextmanager
    async def up(self, more: str = SCALED) -> AsyncIterator[None]:
        """The session's process, without its exchange of versions."""
        self.launch(more)
        doors = self.made.model_copy(update={"processes": ()})
        self.supervisor = Supervisor(doors, os.environ, lambda _: None)
        scaler = Scaler(
            self.made,
            [self.roster],
            self.supervisor,
            lambda: None,
            memory=lambda: Memory(16 * GIB, self.free),
            ready=_is_ready,
        )
        await scaler.look()
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self.supervisor.run(stop)), asyncio.create_task(scaler.run())]
        try:
            yield
        finally:
            stop.set()
            await tasks[0]
            tasks[1].cancel()
            await asyncio.wait(tasks)

    def came_up(self, instance: str) -> bool:
        log = self.files / f"{instance}.log"
        return log.exists() and "up" in log.read_text()


async def _is_ready(_: RouterPlace) -> bool:
    return True


@pytest.fixture
def home(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    made = Home(tmp_path / "files", tmp_path_factory.mktemp("s"))
    monkeypatch.setattr(Outfit, "replica", lambda _, place, ports, gpus: made.waiting(place))
    monkeypatch.setattr(scaling, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(scaling, "NOTICE_SECONDS", 0.2)
    monkeypatch.setattr(scaling, "RETRY_SECONDS", 0.1)
    yield made
    left = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    assert left == []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_as_many_replicas_run_as_the_file_says(home: Home) -> None:
    async with home.up():
        assert (home.serving, home.counts()) == (["sport-0"], (1, 0))
        for asked in (3, 1, 0, 2):
            names = [f"sport-{i}" for i in range(asked)]
            home.ask(sport=asked)
            await until(lambda names=names: home.serving == home.peers == names)  # type: ignore[misc]
            pairs = {f"{name}-{part}" for name in names for part in ("router", "triton")}
            await until(lambda pairs=pairs: home.running == pairs)  # type: ignore[misc]
            assert home.counts() == (asked, 0)


async def test_at_the_start_there_are_as_many_as_the_spec_says_within_the_bounds(home: Home) -> None:
    async with home.up("  replicas: 9\n" + SCALED):
        assert (len(home.serving), home.counts()) == (3, (3, 0))


async def test_nobody_goes_beyond_the_bounds(home: Home) -> None:
    async with home.up("  autoscaling: {minReplicas: 1, maxReplicas: 2}\n"):
        for asked, runs in ((50, 2), (0, 1)):
            home.ask(sport=asked, stranger=3)
            await until(lambda runs=runs: home.counts() == (runs, 0))  # type: ignore[misc]


async def test_a_file_that_is_none_changes_nothing(home: Home) -> None:
    async with home.up():
        home.ask(sport=2)
        await until(lambda: len(home.serving) == 2)
        (home.folder / SCALE).write_text('{"replicas": {"sport": "all"}}')
        await asyncio.sleep(0.3)
        assert home.counts() == (2, 0)
        home.ask(sport=1)
        await until(lambda: home.counts() == (1, 0))


async def test_one_that_leaves_is_out_of_sight_before_it_ends_and_answers_what_it_has(home: Home) -> None:
    async with home.up():
        await until(lambda: home.came_up("sport-0"))
        router, triton = home.pid("sport-0-router"), home.pid("sport-0-triton")
        assert router is not None
        assert triton is not None
        home.busy.touch()
        home.ask(sport=0)
        await until(lambda: home.counts() == (0, 0))
        assert home.peers == ["sport-0"], "routers read the table and the peers one after the other"
        await until(lambda: home.peers == [])
        assert psutil.pid_exists(router)
        await asyncio.sleep(1.0)
        assert (home.pid("sport-0-router"), home.pid("sport-0-triton")) == (router, triton)
        home.busy.unlink()
        await until(lambda: home.running == set())


async def test_one_that_comes_while_another_leaves_has_a_name_of_its_own(home: Home) -> None:
    async with home.up():
        await until(lambda: home.came_up("sport-0"))
        home.busy.touch()
        home.ask(sport=0)
        await until(lambda: home.counts() == (0, 0))
        home.ask(sport=1)
        await until(lambda: home.serving == ["sport-1"])
        home.busy.unlink()
        await until(lambda: home.running == {"sport-1-router", "sport-1-triton"})
        assert home.peers == ["sport-1"]


async def test_a_replica_that_dies_is_started_again(home: Home) -> None:
    async with home.up():
        await until(lambda: home.pid("sport-0-triton") is not None)
        first = home.pid("sport-0-triton")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: home.pid("sport-0-triton") not in (None, first))


async def test_what_does_not_fit_is_told_and_comes_when_there_is_room(home: Home) -> None:
    home.free = GIB
    async with home.up():
        assert (home.serving, home.counts()) == ([], (1, 1))
        assert "of memory" in home.roster.place.counts["sport"].because
        home.free = 16 * GIB
        await until(lambda: home.counts() == (1, 0))
        assert home.serving == ["sport-0"]


async def test_replicas_take_the_gpus_that_are_there(home: Home) -> None:
    home.gpus = ("a", "b")
    async with home.up(SCALED + "  gpu: {}\n"):
        home.ask(sport=3)
        await until(lambda: home.counts() == (3, 1))
        assert home.roster.place.counts["sport"].because == "a replica takes 1 GPUs, and 0 are free"
        home.ask(sport=1)
        await until(lambda: home.running == {"sport-0-router", "sport-0-triton"})
        home.ask(sport=2)
        await until(lambda: home.counts() == (2, 0))


async def test_everything_ends_also_while_replicas_come_and_go(home: Home) -> None:
    async with home.up():
        home.ask(sport=3)
        await until(lambda: len(home.running) == 6)
        home.ask(sport=1)
        await until(lambda: home.peers == ["sport-0"])


async def test_the_next_session_goes_on_with_the_numbers_of_the_last_one(home: Home) -> None:
    async with home.up():
        home.ask(sport=3)
        await until(lambda: home.counts() == (3, 0))
    async with home.up():
        assert len(home.serving) == 3
    async with home.up("  autoscaling: {maxReplicas: 2}\n"):
        assert len(home.serving) == 2


async def test_other_bounds_are_taken_over_and_the_numbers_stay(home: Home) -> None:
    async with home.up():
        home.ask(sport=3)
        await until(lambda: len(home.serving) == 3)
        exchanging = asyncio.create_task(exchange_versions([home.roster]))
        try:
            said = home.apply("  replicas: 1\n  autoscaling: {minReplicas: 1, maxReplicas: 2}\n")
            assert said == ["sport: changed"]
            await until(lambda: home.member.staff is not None and home.member.staff.most == 2)
            await until(lambda: home.counts() == (2, 0))
        finally:
            exchanging.cancel()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  replicas: 0\n", "  replicas: 0\n" + SCALED),
        (SCALED, ""),
        (SCALED + "  gpu: {}\n", SCALED + "  gpu: {}\n  parallelism: {tensor: 2}\n"),
    ],
)
def test_whether_it_is_scaled_and_its_gpus_need_a_new_session(home: Home, before: str, after: str) -> None:
    home.gpus = ("a", "b")
    home.launch(before)
    with pytest.raises(LocalError, match="Processes would have to come or go: sport"):
        home.apply(after)


def test_the_stand_by_router_of_a_scaled_pool_is_told_where_to_write(home: Home) -> None:
    for more, path in ((SCALED, True), ("", False)):
        home.launch(more)
        settings = json.loads((home.folder / "news-door.settings.json").read_text())
        assert settings["scale_path"] == (str(home.folder / SCALE) if path else None)
