"""Routers that learn of their pool from a Kubernetes API, and go on without it."""

import asyncio
import base64
import io
from pathlib import Path

import numpy as np

from fastserve.api.objects import CONFIG_MAP, ENDPOINT_SLICE
from fastserve.router.prototype_files import packed
from fastserve.router.watched import PrototypeConfigMaps
from wiring.router.api_world import ApiWorld, FakeApi, api_world
from wiring.router.router_world import PLACE, member_document, table_document

BANKING, TRAVEL = "transfer money to my account", "book a flight to paris"


async def predict(pool: ApiWorld, text: str, node: str = "door") -> tuple[int, dict]:
    status, answer, _ = await pool.nodes[node].post("/v1/predict", {"text": text})
    return status, answer


async def test_every_router_is_a_door_of_a_pool_that_it_learnt_from_the_api(tmp_path: Path) -> None:
    async with api_world(tmp_path) as pool:
        for node in pool.nodes:
            status, answer = await predict(pool, BANKING, node)
            assert (status, answer["members"][0]["name"]) == (200, "banking")
        assert (await pool.door.readyz())[1]["because"] == "2 of 2 sub-models are ready"


async def test_prototypes_are_told_as_half_floats_under_their_key(tmp_path: Path) -> None:
    async with api_world(tmp_path) as pool:
        state = await pool.door.state()
        reply = await pool.door.admin.get(f"/v1/prototypes/{state['prototypeKeys']['banking']}", 5.0)
        rows = np.load(io.BytesIO(reply.body))

        assert (rows.dtype, rows.shape) == (np.float16, (3, 256))
        assert reply.headers[b"content-type"] == b"application/octet-stream"
        assert (await pool.nodes["travel"].state())["prototypeKeys"] == state["prototypeKeys"]
        theirs = pool.nodes["travel"].router.pool.prototypes.matrix
        assert np.array_equal(theirs, pool.door.router.pool.prototypes.matrix)


async def test_a_key_that_nobody_uses_and_what_is_no_key_are_not_found(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",)) as pool:
        for key in ("0" * 64, "key", "short", ""):
            assert (await pool.door.admin.get(f"/v1/prototypes/{key}", 5.0)).status == 404


async def test_while_the_api_is_away_requests_are_answered_and_nothing_is_forgotten(tmp_path: Path) -> None:
    async with api_world(tmp_path) as pool:
        pool.api.away = True
        pool.api.stir()
        assert (await predict(pool, BANKING))[0] == 200
        assert (await pool.door.readyz())[0] == 200

        pool.document["members"].append(member_document("kitchen"))
        pool.api.away = False
        pool.write_table()

        await pool.door_knows("banking", "travel", "kitchen")
        assert (await predict(pool, TRAVEL))[0] == 200


async def test_a_router_that_starts_while_the_api_is_away_says_so_and_keeps_trying(tmp_path: Path) -> None:
    api = FakeApi()
    api.away = True
    pool = ApiWorld(tmp_path, table_document([member_document("banking")]), reads=api)
    pool.api = api
    try:
        door = await pool.start("door")

        async def says(because: str) -> bool:
            status, readiness = await door.readyz()
            return status == 503 and because in readiness["because"]

        await pool.until(lambda: says("the route table cannot be read: connection refused"))
        api.away = False
        await pool.until(lambda: says(f"ConfigMap team-a/{PLACE.routes} does not hold one yet"))
        pool.write_table()
        await pool.until(lambda: says("no sub-model of the pool is ready"))
    finally:
        await pool.close()


async def test_a_router_that_answers_has_made_the_folders_that_its_triton_starts_with(tmp_path: Path) -> None:
    pool = ApiWorld(tmp_path, table_document([]), reads=FakeApi())
    try:
        node = await pool.start("banking", "banking", run_path=str(tmp_path / "work" / "run"))
        assert (await node.readyz())[0] == 503

        assert (tmp_path / "banking" / "models").is_dir()
        assert (tmp_path / "work" / "run" / "router.sock").is_socket()
    finally:
        await pool.close()


async def test_a_pod_that_terminates_is_asked_nothing_more(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",)) as pool:
        pool.write_peer("banking", pool.nodes["banking"], terminating=True, ready=False)

        async def gone() -> bool:
            return not pool.door.router.pool.peers.of("banking")

        await pool.until(gone)
        assert (await predict(pool, BANKING))[0] == 503
        assert (await predict(pool, BANKING, "banking"))[0] == 200
        pool.api.drop(ENDPOINT_SLICE, "banking-x")


async def test_a_table_that_is_deleted_by_hand_changes_nothing(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",)) as pool:
        pool.api.drop(CONFIG_MAP, PLACE.routes)

        assert (await predict(pool, BANKING))[0] == 200
        assert (await pool.door.readyz())[0] == 200


async def test_old_prototypes_serve_until_the_new_ones_are_stored(tmp_path: Path) -> None:
    async with api_world(tmp_path) as pool:
        sport = pool.nodes["travel"]
        before = (await sport.state())["prototypeKeys"]["banking"]
        changed = {"examples": ["open an account", "close my account"], "digest": "f" * 64}
        pool.document["members"][0]["meaning"] = changed
        pool.document["generation"] = 2
        pool.write_table()

        async def new_at(node: str) -> bool:
            state = await pool.nodes[node].state()
            return state["tableGeneration"] == 2 and state["prototypeKeys"]["banking"] != before

        await pool.until(lambda: new_at("door"))
        assert (await sport.state())["prototypeKeys"]["banking"] == before
        assert (await predict(pool, BANKING, "travel"))[1]["members"][0]["name"] == "banking"
        await pool.store_prototypes()
        await pool.until(lambda: new_at("travel"))


async def test_prototypes_that_somebody_wrote_for_another_encoder_end_no_router(tmp_path: Path) -> None:
    async with api_world(tmp_path) as pool:
        travel = pool.nodes["travel"]
        before = (await travel.state())["prototypeKeys"]["banking"]
        pool.document["members"][0]["meaning"] = {"examples": ["open an account"], "digest": "e" * 64}
        pool.document["generation"] = 2
        pool.write_table()

        async def new_at(node: str) -> bool:
            return (await pool.nodes[node].state())["prototypeKeys"]["banking"] != before

        await pool.until(lambda: new_at("door"))
        key = (await pool.door.state())["prototypeKeys"]["banking"]
        narrow = base64.b64encode(packed(np.eye(2, 3, dtype=np.float32))).decode()
        pool.api.put(CONFIG_MAP, "banking-m-prototypes", data={"key": key}, binaryData={"rows": narrow})
        asked = len(pool.api.gets)
        await pool.until(lambda: asyncio.sleep(0, len(pool.api.gets) > asked + 1))
        assert (await predict(pool, BANKING, "travel"))[1]["members"][0]["name"] == "banking"
        await pool.store_prototypes()
        await pool.until(lambda: new_at("travel"))


async def test_what_is_missing_is_not_asked_for_at_every_look() -> None:
    api = FakeApi()
    store = PrototypeConfigMaps(api, PLACE.namespace, computes=False)

    assert [await store.read("banking", "0" * 64) for _ in range(50)] == [None] * 50
    assert api.gets == ["banking-m-prototypes"]


async def test_prototypes_of_another_key_or_that_are_broken_are_missing() -> None:
    api = FakeApi()
    for data, rows in (("1" * 64, "AAAA"), ("0" * 64, "AAAA"), ("0" * 64, "?"), ("0" * 64, "")):
        api.put(CONFIG_MAP, "banking-m-prototypes", data={"key": data}, binaryData={"rows": rows})
        store = PrototypeConfigMaps(api, PLACE.namespace, computes=False)

        assert await store.read("banking", "0" * 64) is None
