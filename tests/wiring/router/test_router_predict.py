"""Texts through a pool of three sub-models, over real sockets."""

from pathlib import Path

import pytest

from wiring.router.router_world import world


async def test_a_text_is_answered_by_the_sub_model_nearest_in_meaning(tmp_path: Path) -> None:
    async with world(tmp_path) as pool:
        status, answer, reply = await pool.door.post("/v1/predict", {"text": "what is my account balance"})

        assert status == 200
        assert answer["decision"] == "Selected"
        assert [member["name"] for member in answer["members"]] == ["banking"]
        assert answer["members"][0]["status"] == "answered"
        assert answer["members"][0]["version"] == "one"
        assert answer["label"] == max(answer["scores"], key=answer["scores"].get)
        assert answer["coverage"] == 1.0
        assert answer["degraded"] is False
        assert reply.headers[b"x-fastserve-submodels"] == b"banking"
        assert reply.headers[b"x-fastserve-pool"] == b"assistant"
        assert reply.headers[b"x-request-id"].decode() == answer["requestId"]


async def test_a_text_between_two_meanings_is_answered_by_both_together(tmp_path: Path) -> None:
    async with world(tmp_path) as pool:
        text = "what is my flight account balance on time"
        status, answer, reply = await pool.door.post("/v1/predict", {"text": text})

        assert status == 200
        assert {member["name"] for member in answer["members"]} == {"banking", "travel"}
        assert set(answer["scores"]) == {"balance", "transfer", "flight", "hotel"}
        assert sum(answer["scores"].values()) == pytest.approx(1.0, abs=1e-4)
        assert sum(member["weight"] for member in answer["members"]) == pytest.approx(1.0, abs=1e-4)
        assert b"x-fastserve-degraded" not in reply.headers
