"""A sub-model that sleeps: what is asked of it waits at the door until a replica is there."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastserve.api.scaling import LoadReport
from wiring.router.router_world import World, world

BANKING, TRAVEL = "transfer money to my account", "book a flight to paris"
STAFF = {"least": 0, "most": 2}


@asynccontextmanager
async def at_night(folder: Path, *awake: str, **table: object):
    """A pool with travel, and banking, which sleeps, unless one is `awake`; all were ready before."""
    async with world(folder, ["banking", "travel"], **table) as pool:
        asleep = [name for name in ("banking", "travel") if name not in awake]
        for name in asleep:
            staff(pool, name, 0)
            await pool.nodes[name].stop()
        pool.write_table()

        async def all_asleep() -> bool:
            return pool.door.router.pool.asleep() == set(asleep)

        await pool.until(all_asleep)
        yield pool


def staff(pool: World, name: str, replicas: int) -> None:
    member = next(one for one in pool.document["members"] if one["name"] == name)
    member["staff"] = {**STAFF, "replicas": replicas}


async def wake(pool: World, name: str) -> None:
    staff(pool, name, 1)
    pool.write_table()
    await pool.start(name, name)
    pool.write_peers()


async def load(pool: World, path: str = "/v1/load") -> LoadReport:
    return LoadReport.model_validate_json((await pool.door.admin.get(path, 5.0)).body)


async def held(pool: World, count: int) -> None:
    async def fact() -> bool:
        return (await load(pool)).held.get("banking", 0) == count

    await pool.until(fact)


async def test_what_is_asked_of_a_sleeper_is_held_wakes_it_and_is_answered(tmp_path: Path) -> None:
    async with at_night(tmp_path, "travel") as pool:
        both = [
            asyncio.create_task(pool.door.post("/v1/predict", {"text": BANKING})),
            asyncio.create_task(
                pool.door.post(
                    "/v2/models/banking/infer",
                    {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [BANKING]}]},
                )
            ),
        ]
        await held(pool, 2)
        assert (await pool.door.post("/v1/predict", {"text": TRAVEL}))[0] == 200
        assert not any(one.done() for one in both)

        async def told() -> bool:
            report = await load(pool, "/v1/load/history")
            came = [row for row in report.rows if row.member == "banking" and row.waiting == 2]
            return bool(came) and not came[0].own and came[0].arrivals == 2

        await pool.until(told)
        await wake(pool, "banking")
        for status, _, reply in await asyncio.gather(*both):
            assert status == 200
            assert reply.headers[b"x-fastserve-woken"] == b"banking"
        _, _, reply = await pool.door.post("/v1/predict", {"text": BANKING})
        assert b"x-fastserve-woken" not in reply.headers


async def test_a_deadline_that_passes_before_it_is_awake_says_what_it_waited_for(tmp_path: Path) -> None:
    async with at_night(tmp_path, "travel") as pool:
        status, answer, _ = await pool.door.post("/v1/predict", {"text": BANKING, "deadlineMillis": 300})
        assert (status, answer["reason"]) == (504, "DeadlineExceeded")
        assert "banking slept and is being woken" in answer["error"]
        assert (await load(pool)).held == {}


async def test_beyond_the_room_of_those_held_there_is_429_with_a_time(tmp_path: Path) -> None:
    async with at_night(tmp_path, "travel", limits={"maxQueue": 2}) as pool:
        waiting = [asyncio.create_task(pool.door.post("/v1/predict", {"text": BANKING})) for _ in range(2)]
        await held(pool, 2)
        status, answer, reply = await pool.door.post("/v1/predict", {"text": BANKING})
        assert (status, answer["reason"]) == (429, "QueueFull")
        assert int(reply.headers[b"retry-after"]) > 1
        await wake(pool, "banking")
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200, 200]


async def test_a_caller_that_disconnects_is_held_no_more(tmp_path: Path) -> None:
    async with at_night(tmp_path, "travel") as pool:
        host, port = pool.door.data.address.split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"text": BANKING}).encode()
        writer.write(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await held(pool, 1)
        writer.close()
        await held(pool, 0)


async def test_a_pool_that_sleeps_is_ready_and_its_sub_models_are_not(tmp_path: Path) -> None:
    async with at_night(tmp_path) as pool:
        assert (await pool.door.get("/v2/health/ready"))[0] == 200
        assert (await pool.door.get("/v2/models/assistant/ready"))[0] == 200
        assert (await pool.door.get("/v2/models/banking/ready"))[0] == 503
        status, readiness = await pool.door.readyz()
        assert (status, readiness["because"]) == (200, "0 of 2 sub-models are ready, 2 asleep")
        _, explained, _ = await pool.door.post("/v1/route", {"text": BANKING})
        banking = next(one for one in explained["members"] if one["name"] == "banking")
        assert (banking["ready"], banking["chosen"]) == (False, True)
        assert "asleep" in banking["because"]
        assert (await load(pool)).held == {}  # to explain wakes nobody


@pytest.mark.parametrize("instance", ["door", "travel"])
async def test_the_rows_are_told_as_metrics_as_well(tmp_path: Path, instance: str) -> None:
    async with at_night(tmp_path, "travel") as pool:
        assert (await pool.door.post("/v1/predict", {"text": TRAVEL}))[0] == 200
        text = (await pool.nodes[instance].admin.get("/metrics", 5.0)).body.decode()
        if instance == "door":
            assert 'fastserve_router_info{pool="assistant",router="door",submodel=""} 1.0' in text
            assert 'fastserve_door_requests_total{submodel="travel"} 1.0' in text
        else:
            assert 'fastserve_member_arrivals_total{submodel="travel"} 1.0' in text
            assert 'fastserve_member_answered_total{submodel="travel"} 1.0' in text
