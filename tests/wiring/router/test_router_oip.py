"""The Open Inference Protocol at the door, in JSON and in binary."""

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from wiring.router.router_world import FakeTriton, World, member_document, table_document, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
BANKING, TRAVEL = "what is my account balance", "book a flight to paris"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("oip"), ["banking", "travel"]) as started:
        yield started


def asked(*texts: str, **changes: object) -> dict:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"inputs": [tensor], **changes}


async def test_metadata_names_the_tensors_of_the_pool_and_of_a_sub_model(pool: World) -> None:
    assert (await pool.door.get("/v2"))[1]["name"] == "fastserve"
    assert await pool.door.get("/v2/health/live") == (200, {"live": True})
    assert await pool.door.get("/v2/health/ready") == (200, {"ready": True})
    assert (await pool.door.get("/v2/models/banking/ready"))[0] == 200
    assert (await pool.door.get("/v2/models/assistant/ready"))[0] == 200

    _, metadata = await pool.door.get("/v2/models/assistant")
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [one["shape"] for one in metadata["outputs"]] == [[-1, 4], [-1, 4]]
    _, metadata = await pool.door.get("/v2/models/banking")
    assert metadata["versions"] == ["one"]
    assert metadata["outputs"][0] == {"name": "scores", "datatype": "FP32", "shape": [-1, 2]}


async def test_rows_of_one_request_go_to_different_sub_models_and_share_one_set_of_labels(
    pool: World,
) -> None:
    status, answer, _ = await pool.door.post("/v2/models/assistant/infer", asked(BANKING, TRAVEL, id="seven"))

    assert status == 200
    assert (answer["model_name"], answer["id"]) == ("assistant", "seven")
    scores, labels = answer["outputs"]
    assert scores["shape"] == labels["shape"] == [2, 4]
    assert labels["data"] == ["balance", "flight", "hotel", "transfer"] * 2
    rows = np.array(scores["data"]).reshape(2, 4)
    assert rows[0].tolist() == pytest.approx([0.8, 0, 0, 0.2])
    assert rows[1].tolist() == pytest.approx([0, 0.8, 0.2, 0])


async def test_more_rows_than_triton_takes_at_once_are_cut_into_batches(pool: World) -> None:
    before = len(pool.tritons["banking"].calls)

    status, answer, _ = await pool.door.post("/v2/models/banking/infer", asked(*[BANKING] * 10))

    assert status == 200
    assert answer["outputs"][0]["shape"] == [10, 2]
    assert sorted(rows for _, rows in pool.tritons["banking"].calls[before:]) == [2, 4, 4]


@pytest.mark.parametrize("model", ["assistant", "travel"])
async def test_binary_tensors_go_in_and_come_out(pool: World, model: str) -> None:
    blob = struct.pack("<I", len(TRAVEL)) + TRAVEL.encode()
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1]}
    tensor["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()

    reply = await pool.door.data.post(
        f"/v2/models/{model}/infer",
        f"inference-header-content-length: {len(head)}\r\n".encode(),
        head + blob,
        5.0,
    )

    assert reply.status == 200
    cut = int(reply.headers[b"inference-header-content-length"])
    scores, labels = json.loads(reply.body[:cut])["outputs"]
    size = scores["parameters"]["binary_data_size"]
    values = np.frombuffer(reply.body[cut : cut + size], "<f4")
    assert values.shape == (scores["shape"][1],)
    assert values.max() == pytest.approx(0.8)
    rest = reply.body[cut + size :]
    assert len(rest) == labels["parameters"]["binary_data_size"]
    assert b"\x06\x00\x00\x00flight" in rest


async def test_one_output_can_be_binary_and_the_other_json(pool: World) -> None:
    outputs = [{"name": "labels"}, {"name": "scores", "parameters": {"binary_data": True}}]

    reply = await pool.door.data.post(
        "/v2/models/banking/infer", b"", json.dumps(asked(BANKING, outputs=outputs)).encode(), 5.0
    )

    cut = int(reply.headers[b"inference-header-content-length"])
    labels, scores = json.loads(reply.body[:cut])["outputs"]
    assert labels["data"] == ["balance", "transfer"]
    assert "data" not in scores
    assert np.frombuffer(reply.body[cut:], "<f4").tolist() == pytest.approx([0.8, 0.2])


async def test_a_marked_call_is_never_given_to_another_router(pool: World) -> None:
    body = asked(BANKING)

    at_home = await pool.nodes["banking"].post("/v2/models/banking/infer", body, "x-fastserve-hop: 1\r\n")
    astray = await pool.nodes["travel"].post("/v2/models/banking/infer", body, "x-fastserve-hop: 1\r\n")
    at_door = await pool.door.post("/v2/models/banking/infer", body, "x-fastserve-hop: 1\r\n")

    assert at_home[0] == 200
    assert (astray[0], astray[1]["reason"]) == (503, "MemberUnavailable")
    assert (at_door[0], at_door[1]["reason"]) == (503, "MemberUnavailable")


async def test_any_router_of_the_pool_is_a_door(pool: World) -> None:
    for node in pool.nodes.values():
        status, answer, _ = await node.post("/v1/predict", {"text": TRAVEL})
        assert status == 200
        assert answer["members"][0]["name"] == "travel"


async def test_an_embedding_pool_answers_with_vectors(tmp_path: Path) -> None:
    members = [member_document(name) for name in ("banking", "travel")]
    pool = World(tmp_path, table_document(members, task="Embedding", method="WeightedMean"))
    pool.write_table()
    try:
        await pool.start("door")
        for name in ("banking", "travel"):
            pool.tritons[name] = FakeTriton((), embeds=8)
            await pool.start(name, name)
        pool.write_peers()
        await pool.all_ready()

        status, answer, _ = await pool.door.post("/v1/predict", {"text": "my flight account balance on time"})
        assert status == 200
        assert len(answer["embedding"]) == 8
        assert np.linalg.norm(answer["embedding"]) == pytest.approx(1.0, abs=1e-5)
        assert "scores" not in answer

        _, tensors, _ = await pool.door.post("/v2/models/assistant/infer", asked(BANKING, TRAVEL))
        assert tensors["outputs"][0]["name"] == "embedding"
        assert tensors["outputs"][0]["shape"] == [2, 8]
    finally:
        await pool.close()


async def test_more_texts_than_one_request_may_have_are_refused_with_the_bound(pool: World) -> None:
    status, answer, _ = await pool.door.post("/v2/models/assistant/infer", asked(*["x"] * 1025))

    assert (status, answer["reason"]) == (400, "OutOfRange")
    assert "1025 texts (allowed: 1 to 1024)" in answer["error"]


async def test_a_header_length_of_five_thousand_digits_is_a_bad_tensor(pool: World) -> None:
    header = f"inference-header-content-length: {'9' * 5000}\r\n"
    status, answer, _ = await pool.door.post("/v2/models/assistant/infer", asked(BANKING), header)

    assert (status, answer["reason"]) == (400, "BadTensor")


async def test_texts_of_one_request_are_encoded_in_batches(
    pool: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = pool.door.router._encoder._encoder
    encode, sizes = encoder.encode, []

    def counted(texts: list[str], max_tokens: int) -> np.ndarray:
        sizes.append(len(texts))
        return encode(texts, max_tokens)

    monkeypatch.setattr(encoder, "encode", counted)
    texts = [f"{BANKING} {i}" for i in range(64)]
    assert (await pool.door.post("/v2/models/assistant/infer", asked(*texts)))[0] == 200

    assert sum(sizes) == 64
    assert len(sizes) <= 4


async def test_a_sub_model_that_is_named_answers_with_its_own_scores(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"], method="Vote") as pool:
        _, answer, _ = await pool.door.post("/v2/models/banking/infer", asked(BANKING))

        assert sorted(answer["outputs"][0]["data"]) == pytest.approx([0.2, 0.8])


async def test_what_the_door_admits_the_next_router_admits_too(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"], limits={"maxRequestBytes": 4096}) as pool:
        text = BANKING.ljust(4096 - len('{"text":""}'))
        status, answer, _ = await pool.door.post("/v1/predict", {"text": text})
        assert (status, answer.get("error")) == (200, None)

        status, answer, _ = await pool.door.post("/v1/predict", {"text": text + " "})
        assert (status, answer["reason"]) == (413, "BodyTooLarge")
