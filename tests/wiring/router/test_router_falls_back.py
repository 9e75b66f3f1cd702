"""A Triton that restarts while its new version cannot be had is given the one that answered last."""

import io
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from wiring.fetching.fetching_world import FileServer, Served
from wiring.router.api_world import ApiWorld, FakeApi
from wiring.router.router_world import FakeTriton, Node, member_document, table_document

ONE, TWO, NONE = "/one.tar", "/two.tar", "/none.tar"
BROKEN = "CheckpointInvalid: no weights"


def archive(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        info = tarfile.TarInfo("checkpoint/config.json")
        info.size = len(content)
        made.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Aimed(ApiWorld):
    """One member without a door; its target is exchanged by the tests."""

    @property
    def node(self) -> Node:
        return self.nodes["banking"]

    @property
    def triton(self) -> FakeTriton:
        return self.tritons["banking"]

    def aim(self, version: str, uri: str) -> str:
        """Make it the target; its name in Triton."""
        member = member_document("banking", version)
        member["target"].update(version=version, storageUri=uri)
        self.document["members"] = [member]
        self.write_table()
        return str(member["target"]["modelName"])

    async def until_model(self, fact: Callable[[dict], bool]) -> dict:
        async def holds() -> bool:
            model = (await self.node.state())["model"] or {}
            return bool(model) and fact(model)

        await self.until(holds, 30.0)
        return (await self.node.state())["model"]

    async def until_ready(self, status: int) -> None:
        async def holds() -> bool:
            return (await self.node.readyz())[0] == status

        await self.until(holds, 30.0)

    async def restart_triton(self) -> None:
        await self.triton.die()
        await self.until_ready(503)
        self.triton.is_live = True
        await self.triton.start()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "tls").mkdir()
    (tmp_path / "secret").mkdir()
    files = {ONE: Served(archive(b"{}")), TWO: Served(archive(b'{"two": 2}'))}
    with FileServer(tmp_path / "tls", files).running() as running:
        (tmp_path / "secret" / "ca.crt").write_text(running.ca.read_text())
        yield running


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Aimed]:
    api = FakeApi()
    made = Aimed(tmp_path, table_document([]), reads=api)
    made.api = api
    places = {name: str(tmp_path / name.partition("_")[0]) for name in ("models_path", "claims_path")}
    await made.start("banking", "banking", credentials_path=str(tmp_path / "secret"), **places)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("path", "broken", "reason"), [(NONE, "", "NotFound"), (TWO, BROKEN, "CheckpointInvalid")]
)
async def test_while_the_new_version_cannot_be_had_the_last_one_is_loaded_again_and_nothing_is_fetched(
    pool: Aimed, server: FileServer, path: str, broken: str, reason: str
) -> None:
    old = pool.aim("one", server.url(ONE))
    await pool.until_ready(200)
    new = pool.aim("two", server.url(path))
    pool.triton.load_errors[new] = broken
    await pool.until_model(lambda model: model["load"]["phase"] == "FailedToLoad")

    await pool.restart_triton()
    await pool.until_ready(200)

    model = (await pool.node.state())["model"]
    assert (model["name"], model["version"]) == (old, "one")
    assert (model["load"]["phase"], model["lastFailure"]["reason"]) == ("FailedToLoad", reason)
    assert [asked for asked, wanted, _ in server.asked if (asked, wanted) == (ONE, "bytes=0-0")] == [ONE]


async def test_the_new_version_replaces_it_as_soon_as_it_can_be_had(pool: Aimed, server: FileServer) -> None:
    old = pool.aim("one", server.url(ONE))
    await pool.until_ready(200)
    pool.aim("two", server.url(NONE))
    await pool.until_model(lambda model: model["load"]["phase"] == "FailedToLoad")
    await pool.restart_triton()
    await pool.until_ready(200)

    new = pool.aim("three", server.url(TWO))

    model = await pool.until_model(lambda model: model["load"]["phase"] == "Loaded" and model["name"] == new)
    assert model["lastFailure"] is None

    async def alone() -> bool:
        folders = list((pool.folder / "models").iterdir())
        return len(folders) == 1 and pool.triton.states.get(old) == "UNAVAILABLE"

    await pool.until(alone)


async def test_a_last_version_that_cannot_be_loaded_again_is_tried_again_and_says_nothing_of_the_new_one(
    pool: Aimed, server: FileServer
) -> None:
    old = pool.aim("one", server.url(ONE))
    await pool.until_ready(200)
    pool.aim("two", server.url(NONE))
    await pool.until_model(lambda model: model["load"]["phase"] == "FailedToLoad")
    pool.triton.load_errors[old] = BROKEN
    await pool.restart_triton()

    async def tried_again() -> bool:
        return pool.triton.loads.count(old) >= 3

    await pool.until(tried_again)
    assert (await pool.node.state())["model"]["lastFailure"]["reason"] == "NotFound"
    del pool.triton.load_errors[old]
    await pool.until_ready(200)


async def test_a_folder_of_a_claim_that_is_gone_is_not_loaded_again(pool: Aimed) -> None:
    folder = pool.folder / "claims" / "weights" / "one"
    folder.mkdir(parents=True)
    old = pool.aim("one", "pvc://weights/one")
    await pool.until_ready(200)
    pool.aim("two", "pvc://weights/two")
    await pool.until_model(lambda model: model["load"]["phase"] == "FailedToLoad")
    folder.rmdir()

    await pool.restart_triton()
    failed = (await pool.node.state())["model"]["lastFailure"]["time"]
    await pool.until_model(lambda model: model["lastFailure"]["time"] > failed)

    assert pool.triton.loads.count(old) == 1
    folder.mkdir()
    await pool.until_ready(200)
