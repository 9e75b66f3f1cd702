"""What a pool does when something in it dies, changes or is too slow."""

import asyncio
import json
from pathlib import Path

from fastserve.router.health import HealthState
from wiring.router.router_world import (
    LABELS,
    World,
    member_document,
    table_document,
    world,
)

BANKING, TRAVEL = "transfer money to my account", "book a flight to paris"
BOTH = "what is my flight account balance on time"


async def predict(pool: World, text: str, **fields: object) -> tuple[int, dict, object]:
    return await pool.door.post("/v1/predict", {"text": text, **fields})


async def test_while_the_nearest_is_down_its_texts_get_503_and_others_their_answers(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        await pool.tritons["banking"].die()

        status, answer, reply = await predict(pool, BANKING)
        assert (status, answer["reason"]) == (503, "MemberUnavailable")
        assert "banking" in answer["error"]
        assert int(reply.headers[b"retry-after"]) >= 1
        assert (await predict(pool, TRAVEL))[0] == 200


async def test_a_router_that_died_is_noticed_by_the_first_call_to_it(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        await pool.nodes["banking"].kill()

        status, answer, _ = await predict(pool, BANKING)
        assert (status, answer["reason"]) == (503, "MemberUnavailable")
        _, explained, _ = await pool.door.post("/v1/route", {"text": BANKING})
        banking = next(one for one in explained["members"] if one["name"] == "banking")
        assert (banking["ready"], banking["because"]) == (False, "not ready")
        assert explained["decision"] == "Rejected"


async def test_a_peer_that_was_ejected_meanwhile_comes_back_by_a_probe_only(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        pool.tritons["banking"].delay = 0.5
        (peer,) = pool.door.router.pool.peers.of("banking")
        running = asyncio.create_task(predict(pool, BANKING))
        await pool.until(lambda: _is(lambda: peer.in_flight == 1))
        peer.health = HealthState("Ejected", 1, asyncio.get_running_loop().time() + 60)

        assert (await running)[0] == 200
        assert peer.health.health == "Ejected"


async def test_route_says_that_a_named_sub_model_is_not_ready_and_counts_no_choice(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        await pool.nodes["banking"].kill()
        await predict(pool, BANKING)
        for name, decision, because in (
            ("banking", "Rejected", "not ready"),
            ("travel", "Direct", "travel was named by the caller"),
        ):
            status, answer, _ = await pool.door.post("/v1/route", {"text": BANKING, "subModel": name})
            assert (status, answer["decision"]) == (200, decision)
            assert answer["members"][0]["because"] == because
        metrics = (await pool.door.admin.get("/metrics", 5.0)).body.decode()
        assert 'decision="Direct"' not in metrics


async def test_with_all_sub_models_down_the_door_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        for name in ("banking", "travel"):
            await pool.nodes[name].kill()

        async def all_noticed() -> bool:
            return not pool.door.router.pool.ready()

        await pool.until(all_noticed)
        status, answer, _ = await predict(pool, BANKING)
        assert (status, answer["reason"]) == (503, "NoMemberReady")
        status, readiness = await pool.door.readyz()
        assert status == 503
        assert readiness["because"] == "no sub-model of the pool is ready"
        assert (await pool.door.get("/v2/health/ready"))[0] == 503
        assert (await pool.door.get("/v2/health/live"))[0] == 200


async def test_a_triton_that_died_and_came_back_is_loaded_again(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        triton = pool.tritons["banking"]
        await triton.die()

        async def known_to_be_gone() -> bool:
            status, readiness = await pool.nodes["banking"].readyz()
            return (status, readiness["because"]) == (503, "Triton is not live")

        await pool.until(known_to_be_gone)
        triton.is_live = True
        await triton.start()
        await pool.all_ready()

        assert len(triton.loads) == 2
        assert (await predict(pool, BANKING))[0] == 200


async def test_two_replicas_of_a_sub_model_share_its_texts_and_one_may_die(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        await pool.start("banking-two", "banking")
        pool.write_peers()

        async def two_ready() -> bool:
            return sum(one.ready for one in pool.door.router.pool.peers.of("banking")) == 2

        await pool.until(two_ready)
        before = {name: len(pool.tritons[name].calls) for name in ("banking", "banking-two")}
        answers = await asyncio.gather(*(predict(pool, f"{BANKING} {i}") for i in range(40)))
        assert [status for status, _, _ in answers] == [200] * 40
        assert all(len(pool.tritons[name].calls) > count + 5 for name, count in before.items())

        await pool.nodes["banking-two"].kill()
        answers = [await predict(pool, f"{BANKING} again {i}") for i in range(20)]
        assert [status for status, _, _ in answers] == [200] * 20


async def test_an_answer_that_is_late_is_left_out_and_the_answer_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        pool.tritons["banking"].delay = 2.0

        status, answer, reply = await predict(pool, BOTH, deadlineMillis=300)

        assert status == 200
        assert answer["degraded"] is True
        assert 0.0 < answer["coverage"] < 1.0
        assert reply.headers[b"x-fastserve-degraded"] == b"true"
        late = {one["name"]: one for one in answer["members"]}
        assert late["banking"]["status"] == "late"
        assert (late["travel"]["status"], late["travel"]["weight"]) == ("answered", 1.0)

        status, answer, _ = await predict(pool, BANKING, deadlineMillis=200)
        assert (status, answer["reason"]) == (504, "DeadlineExceeded")


async def test_fewer_answers_than_the_pool_wants_are_not_an_answer(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"], minMembers=2) as pool:
        assert (await predict(pool, BOTH))[0] == 200
        pool.tritons["banking"].infer_error = (500, "RankDied: rank 1 ended")

        status, answer, _ = await predict(pool, BOTH)

        assert (status, answer["reason"]) == (504, "TooFewAnswers")
        assert "RankDied: rank 1 ended" in answer["error"]


async def test_an_engine_that_fails_three_times_is_ejected_and_comes_back_by_an_inference(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        triton, node = pool.tritons["banking"], pool.nodes["banking"]
        triton.infer_error = (500, "EngineFailed: no memory")
        status, answer, _ = await predict(pool, BANKING)
        assert (status, answer["reason"]) == (503, "MembersFailed")
        assert "EngineFailed: no memory" in answer["error"]

        async def ejected() -> bool:
            return not node.router.pool.own.ready

        await pool.until(ejected)
        assert "does not answer" in (await node.readyz())[1]["because"]
        triton.infer_error = None
        await pool.all_ready()
        assert triton.loads == [triton.loads[0]]


async def test_ranks_that_were_started_again_count_and_must_answer_before_they_are_asked(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        triton, node = pool.tritons["banking"], pool.nodes["banking"]
        triton.infer_error = (500, "RankDied: rank 0 ended")
        triton.restarts = 1

        async def ejected() -> bool:
            return not node.router.pool.own.ready

        await pool.until(ejected)
        triton.infer_error = None
        await pool.all_ready()
        text = (await node.admin.get("/metrics", 5.0)).body.decode()
        assert "fastserve_engine_restarts_total 1.0" in text
        assert (await node.state())["model"]["restarts"] == 1


async def test_an_engine_that_is_gone_behind_a_ready_model_is_loaded_anew(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        triton = pool.tritons["banking"]
        (name,) = triton.states
        triton.sockets.pop(name).close()
        triton.infer_error = (500, "Stub process is not healthy.")

        async def loaded_anew() -> bool:
            return len(triton.loads) == 2

        await pool.until(loaded_anew)
        triton.infer_error = None
        await pool.all_ready()
        assert triton.unloads == [name]


async def test_a_new_version_is_loaded_beside_the_old_one_and_no_request_is_lost(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        triton = pool.tritons["banking"]
        triton.hold = asyncio.Event()
        (old,) = triton.states
        statuses, stop = [], asyncio.Event()

        async def keep_asking() -> None:
            while not stop.is_set():
                statuses.append((await predict(pool, BANKING))[0])

        asking = asyncio.create_task(keep_asking())
        pool.document["members"] = [member_document("banking", "two")]
        pool.write_table()

        async def new_is_loading() -> bool:
            state = await pool.nodes["banking"].state()
            return state["model"]["load"]["phase"] == "Loading"

        await pool.until(new_is_loading)
        assert (await predict(pool, BANKING))[1]["members"][0]["version"] == "one"
        assert (await pool.nodes["banking"].readyz())[0] == 200
        triton.hold.set()

        async def old_is_gone() -> bool:
            return triton.states.get(old) == "UNAVAILABLE" and not (triton.repository / old).exists()

        await pool.until(old_is_gone)
        stop.set()
        await asking

        assert (await predict(pool, BANKING))[1]["members"][0]["version"] == "two"
        assert len(statuses) > 10
        assert set(statuses) == {200}


async def test_a_version_that_fails_to_load_is_told_and_tried_again_while_the_old_one_answers(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        triton, node = pool.tritons["banking"], pool.nodes["banking"]
        triton.load_error = (
            "load failed for model 'x': version 1 is at UNAVAILABLE state: Internal: "
            "TritonModelException: DeviceMissing: cuda:1 is not visible\n\nAt:\n  model.py"
        )
        pool.document["members"] = [member_document("banking", "two")]
        pool.write_table()

        async def failed() -> bool:
            return (await node.state())["model"]["load"]["phase"] == "FailedToLoad"

        await pool.until(failed)
        failure = (await node.state())["model"]["lastFailure"]
        assert failure["reason"] == "DeviceMissing"
        assert failure["message"] == "cuda:1 is not visible"
        assert failure["time"].endswith("Z")
        assert (await predict(pool, BANKING))[1]["members"][0]["version"] == "one"

        triton.load_error = ""

        async def two_answers() -> bool:
            return (await predict(pool, BANKING))[1]["members"][0]["version"] == "two"

        await pool.until(two_answers)

        async def failure_is_gone() -> bool:
            return (await node.state())["model"]["lastFailure"] is None

        await pool.until(failure_is_gone)


async def test_a_full_queue_is_429_and_a_caller_that_went_leaves_the_queue(tmp_path: Path) -> None:
    member = member_document("banking", maxConcurrency=1)
    pool = World(tmp_path, table_document([member], limits={"maxQueue": 1}))
    pool.write_table()
    try:
        await pool.start("door")
        await pool.start("banking", "banking")
        pool.write_peers()
        await pool.all_ready()
        gate = pool.nodes["banking"].router.pool.own.gate
        pool.tritons["banking"].delay = 1.0

        running = asyncio.create_task(predict(pool, BANKING))
        await pool.until(lambda: _is(lambda: gate.in_flight == 1))
        waiting = asyncio.create_task(predict(pool, BANKING))
        await pool.until(lambda: _is(lambda: gate.waiting == 1))
        status, answer, reply = await predict(pool, BANKING)
        assert (status, answer["reason"]) == (429, "QueueFull")
        assert reply.headers[b"retry-after"] == b"1"

        waiting.cancel()
        await pool.until(lambda: _is(lambda: gate.waiting == 0))
        assert (await running)[0] == 200
    finally:
        await pool.close()


async def _is(fact) -> bool:
    return fact()


async def test_a_broken_table_leaves_the_old_one_in_place_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        (tmp_path / "table.json").write_text('{"pool": "assistant", "members": 3}')

        async def noticed() -> bool:
            return pool.door.router.pool.table_error != ""

        await pool.until(noticed)
        assert (await predict(pool, BANKING))[0] == 200


async def test_a_checkpoint_s_folder_may_have_any_name(tmp_path: Path) -> None:
    member = member_document("banking")
    member["target"]["storageUri"] = Path("/my Wörter/a#b").as_uri()
    pool = World(tmp_path, table_document([member]))
    pool.write_table()
    try:
        await pool.start("banking", "banking")
        triton = pool.tritons["banking"]
        await pool.until(lambda: _is(lambda: triton.loads))
        config = json.loads((triton.repository / triton.loads[0] / "engine.json").read_text())
        assert config["checkpoint"] == "/my Wörter/a#b"
    finally:
        await pool.close()


async def test_a_broken_list_of_peers_leaves_the_known_ones_in_place(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        for text in ("{", '{"peers": [{"instance": "x", "member": "y", "address": "x", "admin": ":z"}]}'):
            (tmp_path / "peers.json").write_text(text)
            await asyncio.sleep(0.7)

            assert not pool.door.task.done()
            assert (await predict(pool, BANKING))[0] == 200


async def test_a_missing_examples_file_makes_one_sub_model_unselectable_and_says_why(tmp_path: Path) -> None:
    travel = member_document("travel")
    travel["meaning"] = {"storageUri": "file:///nowhere/examples.txt", "digest": "0" * 64}
    pool = World(tmp_path, table_document([member_document("banking"), travel]))
    pool.write_table()
    try:
        await pool.start("door")
        for name in ("banking", "travel"):
            await pool.start(name, name)
        pool.write_peers()

        async def both_answer() -> bool:
            return pool.door.router.pool.ready() == {"banking", "travel"}

        await pool.until(both_answer)
        assert (await predict(pool, BANKING))[0] == 200
        state = await pool.door.state()
        assert state["prototypes"] == {"banking": 3}
        assert "travel cannot be selected" in state["because"]
        assert "/nowhere/examples.txt" in state["because"]
        status, answer, _ = await predict(pool, TRAVEL, subModel="travel")
        assert (status, answer["decision"]) == (200, "Direct")
    finally:
        await pool.close()


async def test_a_fallback_answers_what_is_near_to_nobody(tmp_path: Path) -> None:
    selection = {"minScore": "0.35", "fallback": {"type": "SubModel", "subModel": "travel"}}
    async with world(tmp_path, ["banking", "travel"], selection=selection) as pool:
        status, answer, reply = await predict(pool, "zebra")

        assert status == 200
        assert answer["decision"] == "Fallback"
        assert reply.headers[b"x-fastserve-submodels"] == b"travel"


async def test_a_draining_router_says_so_answers_what_runs_and_closes_connections(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        node = await pool.start("second-door", drain_seconds=5.0)

        async def ready() -> bool:
            return (await node.readyz())[0] == 200

        pool.write_peers()
        await pool.until(ready)
        pool.tritons["banking"].delay = 0.5
        running = asyncio.create_task(node.post("/v1/predict", {"text": BANKING}))
        await pool.until(lambda: _is(lambda: node.router.data.in_flight == 1))
        node.router.stopping.set()

        status, _, reply = await running
        assert status == 200
        assert reply.headers[b"connection"] == b"close"
        assert (await node.readyz())[1]["because"] == "the router drains"
        await node.task


async def test_the_state_says_what_is_in_the_triton_and_who_is_there(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        await predict(pool, BANKING)
        own, door = await pool.nodes["banking"].state(), await pool.door.state()

        assert (own["member"], own["tritonLive"], own["ready"]) == ("banking", True, True)
        assert own["model"]["labels"] == list(LABELS["banking"])
        assert own["model"]["load"] == {"phase": "Loaded", "bytesDone": 10, "bytesTotal": 10}
        assert own["queue"]["requests"] == 1
        assert door["model"] is None
        assert door["requests"] == 1
        assert {peer["member"]: peer["health"] for peer in door["peers"]} == {
            "banking": "Healthy",
            "travel": "Healthy",
        }


async def test_the_rendered_folder_holds_the_table_s_files_and_the_engine_s_settings(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        (name,) = pool.tritons["banking"].states
        folder = tmp_path / "banking" / "models" / name

        assert (folder / "config.pbtxt").read_text() == "max_batch_size: 4\n"
        assert (folder / "1" / "model.py").is_file()
        config = json.loads((folder / "engine.json").read_text())
        assert config["checkpoint"] == "/checkpoints/banking"
        assert config["devices"] == ["cpu"]
        assert config["task"] == "TextClassification"
        assert config["socket"] == str(tmp_path / "banking" / f"{name.rsplit('-', 1)[1]}.sock")


async def test_a_router_that_computes_no_prototypes_reads_those_of_the_one_that_does(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        reader = pool.nodes["banking"].router.pool
        assert reader.prototypes.counts() == {"banking": 3}
        assert len(list((tmp_path / "prototypes").glob("*.npy"))) == 1


async def test_a_router_that_restarts_beside_a_loaded_triton_does_not_load_again(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        await pool.nodes["banking"].kill()
        node = await pool.start("banking", "banking")
        pool.write_peers()

        async def found_again() -> bool:
            peers = pool.door.router.pool.peers.of("banking")
            return [peer.ready for peer in peers if peer.address == node.data.address] == [True]

        await pool.until(found_again)
        assert len(pool.tritons["banking"].loads) == 1
        assert (await node.state())["model"]["loadSeconds"] == 0.5
        assert (await predict(pool, BANKING))[0] == 200


async def test_a_pool_that_has_no_table_yet_says_that_it_starts(tmp_path: Path) -> None:
    pool = World(tmp_path, {})
    try:
        await pool.start("door")
        status, answer, _ = await predict(pool, BANKING)
        assert (status, answer["reason"]) == (503, "RouterStarting")
        assert (await pool.door.readyz())[0] == 503
    finally:
        await pool.close()
