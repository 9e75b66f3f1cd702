"""A router that is named in a rollout: the candidate beside the stable one, its share, the way back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from wiring.router.router_world import FakeTriton, Node, World, member_document, table_document

TEXT = "transfer money to my account"
BROKEN = "CheckpointInvalid: no weights"


class Exchanging(World):
    """One member, its router named "banking"; the rollout is the test's."""

    @property
    def node(self) -> Node:
        return self.nodes["banking"]

    @property
    def triton(self) -> FakeTriton:
        return self.tritons["banking"]

    def aim(self, candidate: str = "", **rollout: object) -> None:
        member = member_document("banking", "one")
        if candidate:
            member["rollout"] = {
                "candidate": member_document("banking", candidate)["target"],
                "generation": 2,
                "named": ["banking"],
                "since": "2026-11-21T10:00:00Z",
                "step": "2026-11-21T10:00:00Z",
                "deadlineSeconds": 60,
                **rollout,
            }
        # A folder that is there: what cannot be found is not loaded again.
        for target in (member["target"], member.get("rollout", {}).get("candidate", {})):
            target["storageUri"] = (self.folder / "weights").as_uri()
        self.document["members"] = [member]
        self.write_table()

    async def told(self, version: str) -> dict:
        state = await self.node.state()
        return next((one for one in state["versions"] if one["version"] == version), {})

    async def until_told(self, version: str, fact: Callable[[dict], bool]) -> dict:
        async def holds() -> bool:
            return fact(await self.told(version))

        await self.until(holds, 20.0)
        return await self.told(version)

    async def asked(self) -> str:
        """The version that answered."""
        status, answer, _ = await self.node.post("/v1/predict", {"text": TEXT, "subModel": "banking"})
        assert status == 200, answer
        return self.triton.calls[-1][0]


def name(version: str) -> str:
    return str(member_document("banking", version)["target"]["modelName"])


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Exchanging]:
    (tmp_path / "weights").mkdir()
    made = Exchanging(tmp_path, table_document([]))
    made.aim()
    try:
        await made.start("banking", "banking")
        await made.until_told("one", lambda told: told.get("active", False))
        yield made
    finally:
        await made.close()


async def test_a_candidate_with_all_of_the_share_takes_the_place_and_no_request_is_lost(
    pool: Exchanging,
) -> None:
    answered: Counter[str] = Counter()
    ends = asyncio.Event()

    async def ask() -> None:
        while not ends.is_set():
            answered[await pool.asked()] += 1
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    pool.aim("two")
    told = await pool.until_told("two", lambda told: told.get("share") == 1.0)
    await pool.until_told("one", lambda told: told.get("phase") != "Loaded")
    ends.set()
    await asking

    assert told["active"]
    assert pool.triton.unloads == [name("one")]
    assert await pool.asked() == name("two")
    assert set(answered) == {name("one"), name("two")}


async def test_a_canary_gets_its_share_exactly_and_both_stay(pool: Exchanging) -> None:
    pool.aim("two", share="0.25")
    await pool.until_told("two", lambda told: told.get("share") == 0.25)
    answered = Counter([await pool.asked() for _ in range(40)])

    assert answered == {name("one"): 30, name("two"): 10}
    assert pool.triton.unloads == []
    assert (await pool.node.state())["swap"]["phase"] == "Canary"


async def test_a_candidate_that_cannot_be_loaded_is_told_and_the_stable_one_answers(pool: Exchanging) -> None:
    pool.triton.load_errors[name("two")] = BROKEN
    pool.aim("two")
    told = await pool.until_told("two", lambda told: told.get("phase") == "FailedToLoad")

    assert told["lastFailure"]["reason"] == "CheckpointInvalid"
    assert told["generation"] == 2
    assert await pool.asked() == name("one")
    assert pool.triton.loads.count(name("two")) == 1


async def test_a_candidate_lost_in_its_canary_is_left_and_its_requests_are_answered(pool: Exchanging) -> None:
    pool.aim("two", share="0.5")
    await pool.until_told("two", lambda told: told.get("share") == 0.5)
    pool.triton.states[name("two")] = "UNAVAILABLE"
    answered = [await pool.asked() for _ in range(10)]
    told = await pool.until_told("two", lambda told: told.get("phase") == "FailedToLoad")

    assert set(answered) == {name("one")}
    assert told["lastFailure"]["reason"] == "CandidateLost"


async def test_a_stable_version_that_dies_in_the_canary_is_loaded_again_beside_the_candidate(
    pool: Exchanging,
) -> None:
    pool.aim("two", share="0.5")
    await pool.until_told("two", lambda told: told.get("share") == 0.5)
    pool.triton.deadly = b"deadly"
    await pool.node.post("/v1/predict", {"text": "deadly", "subModel": "banking"})
    pool.triton.deadly = b""

    async def both_answer() -> bool:
        shares = [(await pool.told(version)).get("share") for version in ("one", "two")]
        return shares == [0.5, 0.5]

    async def is_loaded_again() -> bool:
        return pool.triton.loads.count(name("one")) == 2

    await pool.until(is_loaded_again)
    await pool.until(both_answer)


async def test_an_abort_in_the_canary_goes_back_at_once_and_unloads_the_candidate(pool: Exchanging) -> None:
    pool.aim("two", share="0.5")
    await pool.until_told("two", lambda told: told.get("share") == 0.5)
    pool.aim()

    async def alone() -> bool:
        return pool.triton.unloads == [name("two")]

    await pool.until(alone)
    assert {await pool.asked() for _ in range(4)} == {name("one")}


@pytest.fixture
async def asking(pool: Exchanging) -> AsyncIterator[Exchanging]:
    """The candidate is loaded, and does not answer the first question."""
    pool.triton.hanging.add(name("two"))
    pool.aim("two", share="0.5", minAgreement="0.9")

    async def is_asked() -> bool:
        return any(called == name("two") for called, _ in pool.triton.calls)

    await pool.until(is_asked)
    yield pool
    pool.triton.hanging.clear()


async def test_a_stub_that_dies_while_the_candidate_is_asked_is_brought_back_meanwhile(
    asking: Exchanging,
) -> None:
    asking.triton.deadly = b"deadly"
    await asking.node.post("/v1/predict", {"text": "deadly", "subModel": "banking"})
    asking.triton.deadly = b""

    async def is_back() -> bool:
        return asking.triton.loads.count(name("one")) == 2 and bool(asking.node.router.pool.own.ready)

    await asking.until(is_back)
    assert (await asking.told("two"))["phase"] != "FailedToLoad"
    assert await asking.asked() == name("one")


async def test_an_abort_while_the_candidate_is_asked_unloads_it_at_once(asking: Exchanging) -> None:
    assert (await asking.node.state())["swap"]["phase"] == "Warming"
    asking.aim()

    async def alone() -> bool:
        return asking.triton.unloads == [name("two")]

    await asking.until(alone)
    assert await asking.asked() == name("one")


async def test_recreate_leaves_the_pool_before_the_candidate_is_loaded(pool: Exchanging) -> None:
    pool.aim("two", recreate=True)
    await pool.until_told("two", lambda told: told.get("share") == 1.0)

    assert pool.triton.unloads == [name("one")]
    assert await pool.asked() == name("two")


async def test_a_candidate_that_fails_out_of_the_pool_gives_way_to_the_stable_one(pool: Exchanging) -> None:
    pool.triton.load_errors[name("two")] = BROKEN
    pool.aim("two", recreate=True)
    await pool.until_told("two", lambda told: told.get("phase") == "FailedToLoad")
    await pool.until_told("one", lambda told: told.get("active", False))

    assert await pool.asked() == name("one")


async def test_a_load_without_an_end_is_left_to_itself_by_the_deadline(pool: Exchanging) -> None:
    pool.triton.hold = asyncio.Event()
    pool.aim("two", deadlineSeconds=1)
    told = await pool.until_told("two", lambda told: told.get("phase") == "FailedToLoad")

    assert told["lastFailure"]["reason"] == "LoadTimeout"
    assert await pool.asked() == name("one")


async def test_a_candidate_with_other_labels_is_refused_by_the_gate(pool: Exchanging) -> None:
    pool.triton.labels = ("other", "labels")
    pool.aim("two")
    told = await pool.until_told("two", lambda told: told.get("phase") == "FailedToLoad")

    assert told["lastFailure"]["reason"] == "GateFailed"
    assert await pool.asked() == name("one")


async def test_agreement_on_the_examples_is_asked_and_told(pool: Exchanging) -> None:
    pool.aim("two", share="0.5", minAgreement="0.9")
    told = await pool.until_told("two", lambda told: told.get("share") == 0.5)

    assert told["agreement"] == 1.0


async def test_a_table_that_is_read_anew_while_the_candidate_is_asked_does_not_spare_it_the_examples(
    asking: Exchanging,
) -> None:
    asking.aim("two", share="0.25", minAgreement="0.9")

    async def is_taken() -> bool:
        return asking.node.router.sidecar.known.drive.share == 0.25

    await asking.until(is_taken)
    asking.triton.hanging.clear()
    told = await asking.until_told("two", lambda told: told.get("share") == 0.25)

    assert told["agreement"] == 1.0


async def test_a_paused_rollout_loads_nothing(pool: Exchanging) -> None:
    pool.aim("two", paused=True)
    await asyncio.sleep(1.0)

    assert pool.triton.loads == [name("one")]
    assert await pool.asked() == name("one")


@pytest.mark.parametrize("share", ["0.5", "1"])
async def test_a_router_that_is_restarted_in_an_exchange_goes_on_with_it(
    pool: Exchanging, share: str
) -> None:
    pool.aim("two", share=share)
    await pool.until_told("two", lambda told: told.get("share") == float(share))
    await pool.node.kill()
    await pool.start("banking", "banking")
    await pool.until_told("two", lambda told: told.get("share") == float(share))

    assert await pool.asked() in {name("one"), name("two")}
    assert pool.triton.loads.count(name("two")) == 1
