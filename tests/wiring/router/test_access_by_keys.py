"""Every route, every role, every key that is not the right one; over real sockets, on both ports."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from fastserve.api.access import key_digest, state_key
from fastserve.router.doors import DATA_PATHS
from fastserve.router.state import ADMIN_PATHS, OPEN_PATHS
from fastserve.router.upstream import Reply, Upstream
from wiring.router.router_world import World, world

ANN, BOB, EYE, BOTH = "ann-key-0123456789", "bob-key-0123456789", "eye-key-0123456789", "both-key-012345678"
OPERATOR = state_key(b"seed", "team-a/assistant")
TEXT = "what is my account balance"
BODY = json.dumps({"text": TEXT}).encode()
TENSORS = json.dumps(
    {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]}]}
).encode()
BODIES = {"/v1/predict": BODY, "/v1/route": BODY, "/v2/models/{name}/infer": TENSORS}
ROWS = [("data", path, method) for path, method in DATA_PATHS.items()]
ROWS += [("admin", path, method) for path, method in ADMIN_PATHS.items()]
SHOWN = {
    "nothing": "",
    "another scheme": "authorization: Basic YW5uOmFubg==\r\n",
    "an empty key": "authorization: Bearer \r\n",
    "a wrong key": "authorization: Bearer nobody-0123456789ab\r\n",
    "a part of a key": f"authorization: Bearer {ANN[:-1]}\r\n",
    "an entry's name": "x-api-key: infer.ann\r\n",
    "a marked call": "x-fastserve-hop: 1\r\n",
    "a made up proof": f"x-fastserve-hop: 1\r\nx-fastserve-proof: {'0' * 64}\r\n",
    "a key as proof": f"x-fastserve-hop: 1\r\nx-fastserve-proof: {ANN}\r\n",
    "the digest of the operator's key": f"x-api-key: {key_digest(OPERATOR.encode())}\r\n",
}


def write_keys(folder: Path, **keys: str) -> Path:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, key in keys.items():
        (folder / name.replace("_", ".")).write_text(key + "\n")
    return folder


class Guarded(World):
    """A world in which every router asks for keys."""

    async def start(self, instance: str, member: str | None = None, **changes: object):
        changes = {"keys_path": str(self.folder / "keys"), **changes}
        return await super().start(instance, member, **changes)


@pytest.fixture
async def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wiring.router.router_world.World", Guarded)
    write_keys(
        tmp_path / "keys", infer_ann=ANN, infer_bob=BOB, metrics_eye=EYE, infer_all=BOTH, metrics_all=BOTH
    )
    access = {"operatorDigest": key_digest(OPERATOR.encode()), "audit": True}
    async with world(tmp_path, ("banking", "travel"), access=access) as guarded:
        yield guarded


def bearer(key: str) -> str:
    return f"authorization: Bearer {key}\r\n"


async def ask(pool: World, row: tuple[str, str, str], lines: str, node: str = "banking") -> Reply:
    """One request on a connection of its own, as a stranger's would be."""
    port, path, method = row
    at = getattr(pool.nodes[node], port).address
    path = path.replace("{name}", "banking").replace("{key}", "0" * 64)
    upstream = Upstream(at)
    try:
        if method == "GET":
            upstream._host_line += lines.encode()
            return await upstream.get(path, 5.0)
        return await upstream.post(path, lines.encode(), BODIES[path.replace("banking", "{name}")], 5.0)
    finally:
        upstream.close()


@pytest.mark.parametrize("shown", SHOWN)
async def test_nobody_is_let_in_without_a_key_of_the_pool(pool: World, shown: str) -> None:
    for row in ROWS:
        reply = await ask(pool, row, SHOWN[shown])
        if row[1] in OPEN_PATHS:
            assert reply.status == 200
            continue
        assert (row, reply.status) == (row, 401)
        assert reply.headers[b"www-authenticate"].startswith(b"Bearer")
        assert json.loads(reply.body)["reason"] in ("KeyMissing", "KeyUnknown")
    assert [call for call in pool.tritons["banking"].calls if call[1] != 1] == []


async def test_a_key_opens_the_routes_of_its_role_and_no_others(pool: World) -> None:
    keys = {ANN: {"data"}, EYE: {"admin"}, BOTH: {"data", "admin"}, OPERATOR: {"admin"}}
    for key, ports in keys.items():
        for lines in (bearer(key), f"x-api-key: {key}\r\n"):
            for row in ROWS:
                status = (await ask(pool, row, lines)).status
                if row[1] in OPEN_PATHS or row[0] in ports:
                    assert (row, status) == (row, 404 if "{key}" in row[1] else 200)
                else:
                    assert (row, status) == (row, 403)


async def test_a_body_is_not_taken_from_who_shows_no_key(pool: World) -> None:
    host, port = pool.door.data.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"www-authenticate: Bearer" in head
    writer.close()


async def test_what_cannot_be_read_of_a_path_is_told_to_holders_of_keys_only(pool: World) -> None:
    row = ("data", "/v3/secret", "GET")
    assert (await ask(pool, row, "")).status == 401
    assert (await ask(pool, row, bearer(ANN))).status == 404


async def test_calls_between_routers_go_on_with_the_proof_of_the_key(pool: World) -> None:
    status, answer, _ = await pool.door.post("/v1/predict", {"text": TEXT}, bearer(BOB))
    assert (status, answer["members"][0]["status"]) == (200, "answered")
    assert pool.nodes["banking"].router.pool.own.requests == 1


async def test_a_new_key_counts_while_the_old_one_does_and_a_removed_one_no_more(pool: World) -> None:
    async def status(key: str) -> int:
        return (await ask(pool, ("data", "/v1/predict", "POST"), bearer(key), "door")).status

    new = "ann-key-9876543210"
    write_keys(pool.folder / "keys", infer_ann=ANN, infer_ann2=new)

    async def taken(key: str, wanted: int) -> bool:
        return await status(key) == wanted

    # Each router reads for itself: the door may know a key some moments before a sub-model's router does.
    await pool.until(lambda: taken(new, 200))
    assert await status(ANN) == 200
    assert await status(BOB) == 401
    write_keys(pool.folder / "keys", infer_ann2=new)
    await pool.until(lambda: taken(ANN, 401))
    assert await status(new) == 200
    write_keys(pool.folder / "keys", infer_short="short", nothing=new)
    await pool.until(lambda: taken(new, 401))
    ready, why = await pool.door.readyz()
    assert ready == 503
    assert "there are no API keys" in why["because"]
    assert "infer.short: the key has 5 characters" in why["because"]


async def test_no_key_is_told_anywhere(pool: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked = [(row, key) for key in (ANN, EYE, "nobody-0123456789ab") for row in ROWS]
    told = [(await ask(pool, row, bearer(key))).body for row, key in asked]
    logged = "".join(str(vars(record)) for record in caplog.records)
    everything = b"".join(told).decode() + logged
    proofs = [holder.proof for holder in pool.door.router._access.guard.ring._by_key.values()]
    secrets = (ANN, BOB, EYE, BOTH, OPERATOR, *proofs)
    assert [secret for secret in secrets if secret in everything] == []
    assert [
        secret for secret in secrets if secret in repr(pool.door.router._access.guard.ring.__dict__)
    ] == []


async def test_an_audit_line_tells_who_asked_what_and_never_the_text(
    pool: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await pool.door.post("/v1/predict", {"text": TEXT}, bearer(BOB) + "x-request-id: one\r\n")
    await ask(pool, ("data", "/v1/predict", "POST"), "", "door")
    lines = [vars(one) for one in caplog.records if one.name == "fastserve.audit"]
    at_door = next(one for one in lines if one.get("route") == "/v1/predict")
    told = {
        name: at_door[name] for name in ("requestId", "caller", "method", "status", "reason", "subModels")
    }
    assert told == {
        "requestId": "one",
        "caller": "bob",
        "method": "POST",
        "status": 200,
        "reason": "",
        "subModels": ["banking"],
    }
    assert at_door["bytesIn"] == len(json.dumps({"text": TEXT}, separators=(",", ":")))
    assert at_door["bytesOut"] > 0
    assert at_door["seconds"] > 0
    hop = next(one for one in lines if one.get("hop"))
    assert (hop["requestId"], hop["caller"], hop["route"]) == ("one", "bob", "/v2/models/{name}/infer")
    assert [(one["status"], one["reason"]) for one in lines if one["message"] == "refused"] == [
        (401, "KeyMissing")
    ]
    assert [one for one in lines if TEXT in str(one)] == []
