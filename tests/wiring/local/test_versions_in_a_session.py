"""`fastserve apply` and the loop of the session's process, with routers that answer over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastserve.api.routes import Member, RouteTable
from fastserve.errors import LocalError
from fastserve.local.applying import ApplyOptions, apply
from fastserve.local.documents import Session
from fastserve.local.environment import Environment, TritonHome
from fastserve.local.exchanging import PoolExchanges, exchange_versions
from fastserve.local.folders import Folders
from fastserve.local.ground import Ground
from fastserve.local.launching import launch
from fastserve.local.machine import this_machine
from fastserve.local.pool_files import TABLE, read_exchanges, read_table, read_wanted
from fastserve.local.preparing import engine_home, plans_for, read
from fastserve.local.roster import Roster
from pretend_versions import PretendRouter

POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {{name: news}}
spec: {{selection: {{topK: {top_k}}}}}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {{name: sport}}
spec:
  poolRef: {{name: news}}
  examples: [Who won the match?]
  replicas: {replicas}
  rollout: {{paused: {paused}}}
  model: {{storageUri: "file://./model", version: "{version}"}}
"""
CONFIG = '{"model_type": "bert", "num_attention_heads": 2, "hidden_size": 4, "intermediate_size": 8}'


@dataclass
class Home:
    """A session as `up` writes it, two replicas of sport, without its processes."""

    files: Path
    state: Path
    session: Session = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        model = self.files / "model"
        model.mkdir(parents=True)
        for name, text in (("config.json", CONFIG), ("tokenizer.json", "{}"), ("model.safetensors", "x")):
            (model / name).write_text(text)
        self.write()
        environment = Environment(
            TritonHome(self.files, self.files, "", self.files, "3.11"), self.files, self.files, self.files
        )
        planned = plans_for(read([self.files]), engine_home(environment), this_machine(""))
        made = launch(planned, Ground(environment, self.folders), 0)
        self.session = Session(pid=1, created=0.0, pools=made.pools, processes=())

    @property
    def folders(self) -> Folders:
        return Folders(data=self.files, state=self.state)

    @property
    def folder(self) -> Path:
        return self.session.pools[0].folder

    @property
    def member(self) -> Member:
        return read_table(self.folder).members[0]

    def write(self, version: str = "a", replicas: int = 2, top_k: int = 2, *, paused: bool = False) -> None:
        text = POOL.format(
            version=version, replicas=replicas, top_k=top_k, paused="true" if paused else "false"
        )
        (self.files / "pool.yaml").write_text(text)

    def apply(self) -> list[str]:
        return apply(ApplyOptions((self.files,), self.folders, ""), self.session)

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    return Home(tmp_path / "files", tmp_path_factory.mktemp("s"))


@asynccontextmanager
async def routers(home: Home) -> AsyncIterator[list[PretendRouter]]:
    """The routers of sport at their admin ports. A version's digest is what they know it by."""
    digest = home.member.target.digest
    made = [PretendRouter(place.instance) for place in home.session.pools[0].routers if place.member]
    servers = []
    for router, place in zip(made, home.session.pools[0].routers[1:], strict=True):
        router.loaded = {digest: 0}
        host, _, port = place.admin.rpartition(":")
        servers.append(await asyncio.start_server(answering(home, router), host, int(port)))
    yield made
    for server in servers:
        server.close()
        await server.wait_closed()


def answering(home: Home, router: PretendRouter):  # type: ignore[no-untyped-def]
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard = router.heard(home.member, home.seconds)
        body = heard.state.model_dump_json(by_alias=True).encode() if heard.state else b"{}"
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    return answer


async def run(home: Home, replicas: list[PretendRouter], looks: int) -> float:
    """So many looks, a second apart, the routers doing what the table says in between."""
    exchanges, wait = PoolExchanges(Roster(home.session.pools[0]), home.now), 0.0
    for _ in range(looks):
        wait = await exchanges.look()
        for router in replicas:
            router.step(home.member, home.seconds)
        home.seconds += 1
    return wait


async def test_an_applied_version_takes_the_place_of_the_one_that_runs(home: Home) -> None:
    async with routers(home) as replicas:
        await run(home, replicas, 1)
        before = home.member.target.digest
        home.write(version="b")
        assert home.apply() == ["sport: version b is to take the place of a"]
        wait = await run(home, replicas, 15)
        assert home.member.target.version == "b"
        assert all(set(router.loaded) == {home.member.target.digest} for router in replicas)
        assert home.member.proved == (before, home.member.target.digest)
        assert wait == float("inf")


async def test_at_rest_the_table_is_not_written_again(home: Home) -> None:
    async with routers(home) as replicas:
        await run(home, replicas, 2)
        before = (home.folder / TABLE).stat().st_ino
        await run(home, replicas, 3)
        assert (home.folder / TABLE).stat().st_ino == before


async def test_a_version_that_fails_is_refused_and_told(home: Home) -> None:
    async with routers(home) as replicas:
        await run(home, replicas, 1)
        home.write(version="b")
        home.apply()
        wanted = read_wanted(home.folder).table.members[0].target.digest
        replicas[0].bad[wanted] = "CheckpointInvalid"
        await run(home, replicas, 12)
        assert home.member.target.version == "a"
        note = read_exchanges(home.folder).members["sport"]
        assert note.phase == "Refused"
        assert "CheckpointInvalid" in note.because


async def test_a_refused_version_is_tried_again_when_the_files_say_something_new(home: Home) -> None:
    async with routers(home) as replicas:
        await run(home, replicas, 1)
        home.write(version="b")
        home.apply()
        wanted = read_wanted(home.folder).table.members[0].target.digest
        replicas[0].bad[wanted] = "CheckpointInvalid"
        await run(home, replicas, 12)
        replicas[0].bad.clear()
        assert home.apply() == []
        home.write(version="b", paused=True)
        home.apply()
        await run(home, replicas, 1)
        home.write(version="b")
        home.apply()
        await run(home, replicas, 15)
        assert home.member.target.version == "b"


async def test_the_loop_wakes_when_something_is_applied(home: Home) -> None:
    async with routers(home):
        loop = asyncio.create_task(exchange_versions([Roster(home.session.pools[0])]))
        try:
            home.write(version="b")
            home.apply()
            async with asyncio.timeout(20):
                while home.member.rollout is None:
                    await asyncio.sleep(0.05)
        finally:
            loop.cancel()


async def test_settings_of_the_pool_are_taken_over_at_once(home: Home) -> None:
    home.write(top_k=1)
    assert home.apply() == ["news: changed"]
    await run(home, [], 1)
    assert read_table(home.folder).selection.top_k == 1


def test_the_same_files_change_nothing(home: Home) -> None:
    assert home.apply() == []


def test_other_replicas_need_other_processes(home: Home) -> None:
    home.write(replicas=3)
    before = read_wanted(home.folder)
    with pytest.raises(LocalError, match="sport-2"):
        home.apply()
    assert read_wanted(home.folder) == before


def test_a_checkpoint_that_is_gone_is_told_and_changes_nothing(home: Home) -> None:
    (home.files / "model" / "config.json").unlink()
    before = read_wanted(home.folder)
    with pytest.raises(LocalError, match="sport cannot be served like this"):
        home.apply()
    assert read_wanted(home.folder) == before


async def test_what_was_applied_is_taken_over_although_a_look_failed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError("no file descriptor is left")]

    def reading(folder: Path) -> RouteTable:
        if failures and read_wanted(folder).table.members[0].target.version == "b":
            raise failures.pop()
        return read_table(folder)

    monkeypatch.setattr("fastserve.local.exchanging.read_table", reading)
    async with routers(home) as replicas:
        await run(home, replicas, 3)
        loop = asyncio.create_task(exchange_versions([Roster(home.session.pools[0])]))
        try:
            await asyncio.sleep(1.2)  # it is at rest: only a changed file wakes it
            home.write(version="b")
            home.apply()
            async with asyncio.timeout(10):
                while home.member.rollout is None:
                    await asyncio.sleep(0.05)
        finally:
            loop.cancel()
    assert not failures


async def test_a_router_that_was_not_heard_once_is_still_taken_to_answer(home: Home) -> None:
    """A machine at its limits makes routers miss a second; that takes no request from anybody."""
    async with routers(home) as replicas:
        exchanges = PoolExchanges(Roster(home.session.pools[0]), home.now)
        assert [one.ready for one in (await exchanges.hear())["sport"]] == [True, True]
        replicas[0].mute = True
        heard = (await exchanges.hear())["sport"]
        assert [(one.ready, one.silent) for one in heard] == [(True, True), (True, False)]
        home.seconds += 60
        heard = (await exchanges.hear())["sport"]
        assert [one.ready for one in heard] == [False, True]


async def test_routers_that_come_and_go_are_heard_as_long_as_they_are_there(home: Home) -> None:
    async with routers(home):
        roster = Roster(home.session.pools[0])
        exchanges = PoolExchanges(roster, home.now)
        door, *others = roster.place.routers
        for there in (others, others[:1], [], others):
            roster.place = roster.place.model_copy(update={"routers": (door, *there)})
            heard = await exchanges.hear()
            assert [one.ready for one in heard.get("sport", ())] == [True] * len(there)
