"""A user's own Triton model in a pool, and what the state says when a Triton has none, or is none."""

import asyncio
from pathlib import Path

import pytest

from fastserve.errors import BackendUnavailable
from fastserve.router.loading import CUSTOM_SILENT_SECONDS
from wiring.router.router_world import FakeTriton, World, member_document, table_document

CONFIG = """
name: "theirs"
backend: "python"
max_batch_size: 2
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""


class CustomWorld(World):
    """One member with a door; its target is a folder on this machine."""

    def aim(self, **target: object) -> None:
        member = member_document("banking", str(target))
        theirs = self.folder / "theirs"
        given = {"labels": ["transfer", "balance"], "storageUri": theirs.as_uri(), **target}
        member["target"].update(custom=True, files={}, **given)
        self.document = table_document([member])
        self.write_table()

    async def failure(self) -> dict | None:
        return ((await self.nodes["banking"].state())["model"] or {}).get("lastFailure")

    async def until_failure(self, reason: str) -> str:
        async def fact() -> bool:
            return ((await self.failure()) or {}).get("reason") == reason

        await self.until(fact)
        return (await self.failure())["message"]

    async def until_no_failure(self) -> None:
        async def fact() -> bool:
            return await self.failure() is None

        await self.until(fact)

    async def until_ready(self) -> None:
        async def fact() -> bool:
            return self.nodes["banking"].router.pool.own.ready

        await self.until(fact)


@pytest.fixture
async def pool(tmp_path: Path):
    (tmp_path / "theirs" / "1").mkdir(parents=True)
    (tmp_path / "theirs" / "config.pbtxt").write_text(CONFIG)
    made = CustomWorld(tmp_path, table_document([]))
    made.write_table()
    made.tritons["banking"] = FakeTriton(("x", "y"))
    await made.start("banking", "banking", computes_prototypes=True)
    yield made
    await made.close()


async def test_it_answers_with_the_labels_of_its_spec_in_batches_of_its_configuration(
    pool: CustomWorld,
) -> None:
    pool.aim()
    await pool.until_ready()
    pool.write_peers()
    node = pool.nodes["banking"]
    await pool.all_ready()

    status, answer, _ = await node.post("/v1/predict", {"text": "freeze my account"})

    assert (status, set(answer["scores"])) == (200, {"transfer", "balance"})
    model = (await node.state())["model"]
    assert (model["load"]["phase"], model["labels"]) == ("Loaded", ["transfer", "balance"])
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [5], "data": ["my account"] * 5}]}
    assert (await node.post("/v2/models/banking/infer", body))[0] == 200
    assert max(count for _, count in pool.tritons["banking"].calls) == 2


async def test_labels_that_are_not_as_many_as_the_scores_are_told_and_mended_by_a_new_target(
    pool: CustomWorld,
) -> None:
    pool.aim(labels=["only one"])
    message = await pool.until_failure("InvalidSpec")
    assert "spec.engine.labels: the model gives 2 scores for a text, and 1 labels are named" in message
    pool.aim()
    await pool.until_ready()
    await pool.until_no_failure()


async def test_a_folder_that_is_no_triton_model_is_told(pool: CustomWorld) -> None:
    (pool.folder / "theirs" / "config.pbtxt").unlink()
    pool.aim()

    assert await pool.until_failure("CheckpointInvalid") == "the model folder has no config.pbtxt"
    assert pool.tritons["banking"].loads == []


async def test_the_engines_own_word_for_a_bad_checkpoint_is_the_last_failure(pool: CustomWorld) -> None:
    why = "CheckpointInvalid: tensor a.b is missing in the checkpoint"
    pool.tritons["banking"].load_error = f"failed to load 'm', Internal: RuntimeError: {why}"
    pool.aim()

    assert await pool.until_failure("CheckpointInvalid") == "tensor a.b is missing in the checkpoint"


async def test_a_triton_that_is_absent_is_told_until_it_is_there(
    pool: CustomWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastserve.router.bookkeeping.ABSENT_SECONDS", 0.1)
    pool.tritons["banking"].is_live = False
    pool.aim()

    assert "no Triton answers beside this router" in await pool.until_failure("TritonAbsent")
    assert (await pool.nodes["banking"].readyz())[1]["because"] == "Triton is not live"
    pool.tritons["banking"].is_live = True
    await pool.until_ready()
    await pool.until_no_failure()


async def test_a_custom_model_that_stopped_answering_is_loaded_anew(
    pool: CustomWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastserve.router.loading.CUSTOM_SILENT_SECONDS", 0.3)
    pool.aim()
    await pool.until_ready()
    triton = pool.tritons["banking"]
    triton.infer_error = (500, "it does not feel like it")

    async def unloaded() -> bool:
        return len(triton.unloads) == 1

    await pool.until(unloaded)
    triton.infer_error = None
    await pool.until_ready()
    assert triton.loads == [triton.loads[0]] * 2


async def test_a_triton_that_ends_while_it_loads_is_a_failure_of_the_load(pool: CustomWorld) -> None:
    triton = pool.tritons["banking"]

    async def end(name: str) -> None:
        triton.loads.append(name)
        raise BackendUnavailable(f"Triton went away while {name} was loaded")

    triton.load = end
    pool.aim()

    assert "went away while banking-" in await pool.until_failure("TritonEnded")
    del triton.load
    await pool.until_ready()
    await pool.until_no_failure()


async def test_a_custom_model_that_triton_calls_dead_is_loaded_anew_at_once(pool: CustomWorld) -> None:
    pool.aim()
    await pool.until_ready()
    triton, began = pool.tritons["banking"], asyncio.get_running_loop().time()
    triton.infer_error = (500, "Stub process 'banking_0' is not healthy.")

    async def unloaded() -> bool:
        return bool(triton.unloads)

    await pool.until(unloaded)
    assert asyncio.get_running_loop().time() - began < CUSTOM_SILENT_SECONDS / 2
    triton.infer_error = None
    await pool.until_ready()
    assert triton.loads == [triton.loads[0]] * 2


async def test_a_custom_model_that_dies_at_its_first_inference_is_loaded_anew(pool: CustomWorld) -> None:
    triton = pool.tritons["banking"]
    triton.infer_error = (500, "Stub process 'banking_0' is not healthy.")
    pool.aim()

    async def unloaded() -> bool:
        return bool(triton.unloads)

    await pool.until(unloaded)
    triton.infer_error = None
    await pool.until_ready()
