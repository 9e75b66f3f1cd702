"""The sidecar and its fetching process, against a real file server with TLS."""

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastserve.api.identity import image_folder
from fastserve.router.model_files import fetch_key
from wiring.fetching.fetching_world import FileServer, Served
from wiring.router.api_world import ApiWorld, FakeApi
from wiring.router.router_world import Node, member_document, table_document

ONE, TWO, SLOW = "/models/one.tar.gz", "/models/two.tar.gz", "/models/slow.tar"
RECORD = {"digest": "0123456789abcdef0123", "parent": {"name": "a", "digest": "b"}, "metrics": {}, "data": {}}


def archive(mode: str = "w:gz", **files: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as made:
        for name, text in files.items():
            info = tarfile.TarInfo(f"checkpoint/{name}.json")
            info.size = len(text)
            made.addfile(info, io.BytesIO(text))
    return content.getvalue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    files = {
        ONE: Served(archive(config=b"{}", fastserve=json.dumps(RECORD).encode())),
        TWO: Served(archive(config=b'{"two": 2}')),
        SLOW: Served(archive("w", config=os.urandom(1 << 20)), seconds_per_chunk=0.15),
    }
    (tmp_path / "tls").mkdir()
    (tmp_path / "secret").mkdir()
    with FileServer(tmp_path / "tls", files).running() as running:
        (tmp_path / "secret" / "ca.crt").write_text(running.ca.read_text())
        yield running


class Fetching(ApiWorld):
    """One member without a door; its target is exchanged by the tests."""

    @property
    def node(self) -> Node:
        return self.nodes["banking"]

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def aim(self, version: str, **target: object) -> None:
        member = member_document("banking", version)
        member["target"].update(version="", **target)
        self.document["members"] = [member]
        self.write_table()

    async def model(self) -> dict:
        return (await self.node.state())["model"] or {}

    async def until_model(self, fact) -> dict:
        async def holds() -> bool:
            model = await self.model()
            return bool(model) and fact(model)

        await self.until(holds, 30.0)
        return await self.model()


@pytest.fixture
async def pool(tmp_path: Path):
    api = FakeApi()
    made = Fetching(tmp_path, table_document([]), reads=api)
    made.api = api
    await made.start(
        "banking",
        "banking",
        models_path=str(tmp_path / "models"),
        credentials_path=str(tmp_path / "secret"),
        claims_path=str(tmp_path / "claims"),
        images_path=str(tmp_path / "images"),
    )
    yield made
    await made.close()


async def test_a_version_is_fetched_loaded_and_named_and_the_old_ones_files_go(
    pool: Fetching, server: FileServer
) -> None:
    pool.aim("one", storageUri=server.url(ONE), maxBytes=1 << 20)
    model = await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")
    assert model["version"] == "0123456789ab"
    (first,) = pool.models.iterdir()
    engine = json.loads((pool.folder / "banking" / "models" / model["name"] / "engine.json").read_text())
    assert engine["checkpoint"] == str(first)
    assert json.loads((first / "config.json").read_text()) == {}

    pool.aim("two", storageUri=server.url(TWO))
    await pool.until_model(lambda new: new["name"] != model["name"] and new["load"]["phase"] == "Loaded")

    async def alone() -> bool:
        return [path.name for path in pool.models.iterdir()] == [
            fetch_key(pool.node.router.sidecar.known.member.target)
        ]

    await pool.until(alone)
    assert (await pool.model())["version"] == (await pool.model())["digest"][:12]


async def test_progress_is_told_while_the_old_version_serves(pool: Fetching, server: FileServer) -> None:
    pool.aim("one", storageUri=server.url(ONE))
    old = await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")
    pool.aim("slow", storageUri=server.url(SLOW))

    seen = await pool.until_model(lambda model: 0 < model["load"]["bytesDone"] < model["load"]["bytesTotal"])

    assert (seen["load"]["phase"], seen["name"]) == ("Fetching", old["name"])
    assert seen["load"]["bytesTotal"] > 1 << 20
    assert (await pool.node.readyz())[0] == 200
    await pool.until_model(lambda model: model["name"] != old["name"])


async def test_a_new_target_ends_the_fetch_of_the_old_one(pool: Fetching, server: FileServer) -> None:
    pool.aim("slow", storageUri=server.url(SLOW))
    await pool.until_model(lambda model: model["load"]["bytesDone"] > 0)

    pool.aim("one", storageUri=server.url(ONE))

    await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")
    sent = server.bytes_sent
    await asyncio.sleep(0.5)
    assert server.bytes_sent == sent < 1 << 20
    assert len(list(pool.models.iterdir())) == 1


async def test_a_router_that_ends_takes_the_fetch_along_and_the_next_one_goes_on_with_it(
    pool: Fetching, server: FileServer
) -> None:
    pool.aim("slow", storageUri=server.url(SLOW))
    await pool.until_model(lambda model: model["load"]["bytesDone"] > 400_000)
    await pool.node.stop()
    await asyncio.sleep(0.5)
    sent = server.bytes_sent
    await asyncio.sleep(0.5)
    assert server.bytes_sent == sent

    settings = pool.node.settings
    await pool.start(
        "banking", "banking", models_path=settings.models_path, credentials_path=settings.credentials_path
    )
    await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")

    assert server.bytes_sent < sent + len(server.files[SLOW].content) - 300_000
    assert any(wanted.startswith("bytes=") and wanted != "bytes=0-0" for _, wanted, _ in server.asked)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"storageUri": "/none.tar"}, "NotFound"),
        ({"storageUri": ONE, "expectedDigest": "sha256:" + "0" * 64}, "DigestMismatch"),
        ({"storageUri": ONE, "maxBytes": 10}, "SizeLimitExceeded"),
    ],
)
async def test_a_failed_fetch_says_why_and_is_left_alone_until_the_target_changes(
    pool: Fetching, server: FileServer, target: dict, reason: str
) -> None:
    pool.aim("bad", **{**target, "storageUri": server.url(target["storageUri"])})

    model = await pool.until_model(lambda model: model["lastFailure"] is not None)

    assert (model["lastFailure"]["reason"], model["load"]["phase"]) == (reason, "FailedToLoad")
    assert (await pool.node.readyz())[1]["because"].startswith(f"{reason}: ")
    asked = len(server.asked)
    await asyncio.sleep(1.5)
    assert len(server.asked) == asked
    pool.aim("one", storageUri=server.url(ONE))
    good = await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")
    assert good["lastFailure"] is None


async def test_a_claim_is_read_where_it_is_mounted(pool: Fetching) -> None:
    pool.aim("claimed", storageUri="pvc://weights/banking/v1")
    missing = await pool.until_model(lambda model: model["lastFailure"] is not None)
    assert missing["lastFailure"]["reason"] == "CheckpointMissing"

    (pool.folder / "claims" / "weights" / "banking" / "v1").mkdir(parents=True)
    model = await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")

    engine = json.loads((pool.folder / "banking" / "models" / model["name"] / "engine.json").read_text())
    assert engine["checkpoint"] == str(pool.folder / "claims" / "weights" / "banking" / "v1")
    assert not pool.models.exists()


async def test_an_image_is_read_where_it_is_mounted(pool: Fetching, server: FileServer) -> None:
    image = "r.example/banking:1"
    pool.aim("in-an-image", storageUri=f"oci://{image}", image=image)
    missing = await pool.until_model(lambda model: model["lastFailure"] is not None)
    assert missing["lastFailure"]["reason"] == "CheckpointMissing"
    assert missing["lastFailure"]["message"].startswith(f"image {image} is not mounted in this pod")

    mounted = pool.folder / "images" / image_folder(image)
    mounted.mkdir(parents=True)
    (mounted / "fastserve.json").write_text(json.dumps(RECORD))
    model = await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")

    engine = json.loads((pool.folder / "banking" / "models" / model["name"] / "engine.json").read_text())
    assert (engine["checkpoint"], model["version"]) == (str(mounted), "0123456789ab")
    assert not pool.models.exists()
    assert server.asked == []


async def test_a_fetching_process_that_dies_is_a_failure_with_its_exit_code(
    pool: Fetching, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastserve.router.fetch_child.sys.executable", "/bin/false")
    pool.aim("one", storageUri=server.url(ONE))

    model = await pool.until_model(lambda model: model["lastFailure"] is not None)

    assert model["lastFailure"]["reason"] == "FetchFailed"
    assert model["lastFailure"]["message"] == "the fetching process ended with 1"
    monkeypatch.undo()
    await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")


async def test_a_line_without_an_end_is_a_failure_that_is_not_tried_again_at_once(
    pool: Fetching, server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talker, calls = tmp_path / "talker", tmp_path / "calls"
    talker.write_text(f"#!/bin/sh\necho >> {calls}\nhead -c 200000 /dev/zero | tr '\\0' x\n")
    talker.chmod(0o700)
    monkeypatch.setattr("fastserve.router.fetch_child.sys.executable", str(talker))
    pool.aim("one", storageUri=server.url(ONE))

    model = await pool.until_model(lambda model: model["lastFailure"] is not None)

    assert model["lastFailure"]["reason"] == "FetchFailed"
    assert len(calls.read_text()) == 1


async def test_no_file_says_what_is_fetched_and_where_to_send_the_credentials(
    pool: Fetching, server: FileServer
) -> None:
    """Triton works in this folder, under this uid, with code that may be anybody's."""
    pool.aim("slow", storageUri=server.url(SLOW))
    await pool.until_model(lambda model: model["load"]["bytesDone"] > 0)
    texts = [path.read_bytes() for path in (pool.folder / "banking").rglob("*") if path.is_file()]
    assert not any(SLOW.encode() in text for text in texts)


async def test_a_version_that_failed_leaves_its_room_to_the_next_and_what_serves_keeps_its_files(
    pool: Fetching, server: FileServer
) -> None:
    """The volume holds two versions: a third would have the pod evicted, and what serves with it."""
    pool.aim("one", storageUri=server.url(ONE))
    await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")
    served = fetch_key(pool.node.router.sidecar.known.member.target)
    pool.tritons["banking"].load_error = "CheckpointInvalid: no weights"
    pool.aim("two", storageUri=server.url(TWO))
    await pool.until_model(lambda model: model["load"]["phase"] == "FailedToLoad")

    pool.aim("slow", storageUri=server.url(SLOW))
    await pool.until_model(lambda model: 0 < model["load"]["bytesDone"] < model["load"]["bytesTotal"])

    key = fetch_key(pool.node.router.sidecar.known.member.target)
    assert {path.name for path in pool.models.iterdir()} == {served, f"{key}.partial"}
