"""What is wrong with a claim's files is told before Triton has started, and is looked at once for a load."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fastserve.router import mounted_check
from wiring.router.api_world import ApiWorld, FakeApi
from wiring.router.router_world import LABELS, FakeTriton, Node, member_document, table_document


class Claimed(ApiWorld):
    """One member whose Triton has not started, and a claim."""

    @property
    def node(self) -> Node:
        return self.nodes["banking"]

    async def until_model(self, fact: Callable[[dict], bool]) -> dict:
        async def holds() -> bool:
            model = (await self.node.state())["model"]
            return model is not None and fact(model)

        await self.until(holds, 30.0)
        return (await self.node.state())["model"]


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Claimed]:
    member, api = member_document("banking"), FakeApi()
    member["target"]["storageUri"] = "pvc://weights/v1"
    made = Claimed(tmp_path, table_document([member]), reads=api)
    made.api = api
    made.write_table()
    made.tritons["banking"] = FakeTriton(LABELS["banking"], is_live=False)
    await made.start(
        "banking", "banking", models_path=str(tmp_path / "models"), claims_path=str(tmp_path / "claims")
    )
    yield made
    await made.close()


async def test_a_folder_that_is_missing_is_told_before_triton_lives_and_a_load_looks_once(
    pool: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    check = mounted_check.check_mounted

    def counted(target: object, files: object) -> None:
        check(target, files)
        looks.append("well")

    monkeypatch.setattr(mounted_check, "check_mounted", counted)
    triton = pool.tritons["banking"]
    model = await pool.until_model(lambda model: model["lastFailure"] is not None)
    assert (model["lastFailure"]["reason"], model["load"]["phase"]) == ("CheckpointMissing", "FailedToLoad")
    assert (await pool.node.state())["tritonLive"] is False

    (pool.folder / "claims" / "weights" / "v1").mkdir(parents=True)
    await pool.until_model(lambda model: model["lastFailure"] is None)
    triton.is_live = True
    await pool.until_model(lambda model: model["load"]["phase"] == "Loaded")
    assert (looks, len(triton.loads)) == (["well"], 1)

    await triton.die()
    await pool.until_model(lambda model: len(looks) == 2)
    triton.is_live = True
    await triton.start()
    await pool.until_model(lambda model: model["load"]["phase"] == "Loaded" and len(triton.loads) == 2)
    assert len(looks) == 2
