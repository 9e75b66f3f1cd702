"""Whatever is wrong with a request, the answer names it; never a hang, never a 500."""

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from wiring.router.router_world import World, world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("bad")
    async with world(folder, ["banking", "travel"], limits={"maxRequestBytes": 4096}) as started:
        yield started


async def raw(world_: World, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; the first answer."""
    host, port = world_.door.data.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body
    finally:
        writer.close()


CHUNKED = b"transfer-encoding: chunked"
BAD_BODIES = [
    ("an empty text", b'{"text": ""}', 400, "TextEmpty", "empty"),
    ("only white space", b'{"text": " \\n\\t "}', 400, "TextEmpty", "empty"),
    ("bytes that are no UTF-8", b'{"text": "\xff\xfe"}', 400, "TextNotUtf8", "byte 10 is 0xff"),
    ("no JSON", b'{"text": "a",}', 400, "BadJson", "byte 13 (line 1, column 14)"),
    ("JSON cut short", b'{"text": "a"', 400, "BadJson", "truncated at byte 12"),
    ("an empty body", b"", 400, "BadJson", "truncated at byte 0"),
    ("an array", b"[]", 400, "WrongType", "the body must be object, not array"),
    ("a field misspelt", b'{"text": "a", "topk": 1}', 400, "UnknownField", "did you mean 'topK'?"),
    ("a field of no known name", b'{"text": "a", "zzz": 1}', 400, "UnknownField", "allowed: text, topK"),
    ("no text", b"{}", 400, "MissingField", "'text' is required"),
    ("a text that is a number", b'{"text": 3}', 400, "WrongType", "'text' must be str, not int"),
    ("a topK that is a text", b'{"text": "a", "topK": "2"}', 400, "WrongType", "'topK'"),
    ("a topK of 0", b'{"text": "a", "topK": 0}', 400, "OutOfRange", "1 to 16"),
    ("a deadline of 0", b'{"text": "a", "deadlineMillis": 0}', 400, "OutOfRange", "1 to 600000"),
    ("a deadline below 0", b'{"text": "a", "deadlineMillis": -1}', 400, "OutOfRange", "1 to 600000"),
    ("an unknown sub-model", b'{"text": "a", "subModel": "x"}', 404, "ModelUnknown", "banking, travel"),
    ("a body too large", b'{"text": "' + b"a" * 5000 + b'"}', 413, "BodyTooLarge", "4096 bytes"),
    ("a text near to nothing", b'{"text": "zebra"}', 422, "NoMatch", "no sub-model reaches minScore 0.35"),
]


@pytest.mark.parametrize(
    ("body", "status", "reason", "text"), [row[1:] for row in BAD_BODIES], ids=[row[0] for row in BAD_BODIES]
)
async def test_a_bad_body_is_answered_with_what_is_wrong_with_it(
    pool: World, body: bytes, status: int, reason: str, text: str
) -> None:
    got, answer, reply = await pool.door.post("/v1/predict", body)

    assert (got, answer["reason"]) == (status, reason)
    assert text in answer["error"]
    assert b"x-request-id" in reply.headers or status == 413


BAD_PATHS = [
    ("POST", "/nowhere", 404, "PathUnknown", "/v1/predict", None),
    ("GET", "/v1/predict", 405, "MethodNotAllowed", "POST is", "POST"),
    ("DELETE", "/v1/route", 405, "MethodNotAllowed", "POST is", "POST"),
    ("POST", "/v2/health/live", 405, "MethodNotAllowed", "GET is", "GET"),
    ("GET", "/v2/models/none", 404, "ModelUnknown", "assistant, banking, travel", None),
    ("GET", "/v2/models/none/ready", 404, "ModelUnknown", "assistant, banking, travel", None),
    ("POST", "/v2/models/none/infer", 404, "ModelUnknown", "assistant, banking, travel", None),
    ("GET", "/v2/models/banking/statistics", 404, "PathUnknown", "/v2/models/{name}", None),
    ("POST", "/v2/repository/models/x/unload", 404, "PathUnknown", "/v1/predict", None),
]


@pytest.mark.parametrize("row", BAD_PATHS, ids=[f"{row[0]} {row[1]}" for row in BAD_PATHS])
async def test_a_bad_path_or_method_is_answered_with_those_that_there_are(
    pool: World, row: tuple[str, str, int, str, str, str | None]
) -> None:
    method, path, status, reason, text, allow = row
    request = f"{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}".encode()

    got, headers, body = await raw(pool, request)

    answer = json.loads(body)
    assert (got, answer["reason"]) == (status, reason)
    assert text in answer["error"]
    assert headers.get("allow", "").upper() == (allow or "")


CHUNK = b"400\r\n" + b"a" * 0x400 + b"\r\n"
HOSTILE = [
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "BadRequest"),
    ("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "BadRequest"),
    (
        "a change of protocol",
        b"GET /v2 HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        400,
        "BadRequest",
    ),
    (
        "two lengths of one body",
        b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n",
        400,
        "BadRequest",
    ),
    (
        "a length below zero",
        b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        400,
        "BadRequest",
    ),
    (
        "a length far over the limit, and nothing sent",
        b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n",
        413,
        "BodyTooLarge",
    ),
    (
        "chunks without end",
        b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK * 6,
        413,
        "BodyTooLarge",
    ),
    (
        "thousands of one-byte chunks",
        b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 5000,
        413,
        "BodyTooLarge",
    ),
    ("a URL without end", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "UrlTooLong"),
    ("headers without end", b"GET /v2 HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n", 431, "HeadersTooLarge"),
]


@pytest.mark.parametrize(
    ("data", "status", "reason"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
async def test_hostile_http_is_refused_and_the_connection_closed(
    pool: World, data: bytes, status: int, reason: str
) -> None:
    got, headers, body = await raw(pool, data)

    assert (got, json.loads(body)["reason"]) == (status, reason)
    assert headers["connection"] == "close"


async def test_pipelined_requests_are_answered_in_their_order_with_the_bad_one_last(pool: World) -> None:
    host, port = pool.door.data.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    good = b"POST /v1/route HTTP/1.1\r\nhost: a\r\nx-request-id: first\r\ncontent-length: 17\r\n\r\n"
    good += b'{"text": "paris"}'
    writer.write(good + b"GET /v2 HTTP/1.1\r\nhost: a\r\nx-request-id: second\r\n\r\n" + b"rubbish\r\n\r\n")
    async with asyncio.timeout(5):
        answers = (await reader.read()).decode()
    writer.close()

    order = [answers.index(word) for word in ("x-request-id: first", "x-request-id: second", "BadRequest")]
    assert order == sorted(order)


async def test_a_caller_that_expects_100_continue_gets_it(pool: World) -> None:
    host, port = pool.door.data.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/route HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 17\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(b'{"text": "paris"}')
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_deadline_header_of_zero_is_refused_with_the_range(pool: World) -> None:
    body = {"text": "book a flight to paris"}

    for value in ("0", "soon", "-3"):
        status, answer, _ = await pool.door.post(
            "/v1/predict", body, f"x-fastserve-deadline-millis: {value}\r\n"
        )
        assert (status, answer["reason"]) == (400, "OutOfRange")
        assert "1 to 600000" in answer["error"]


async def test_a_request_id_that_would_break_a_header_is_replaced(pool: World) -> None:
    _, _, kept = await pool.door.post("/v1/route", {"text": "paris"}, "x-request-id: abc-1\r\n")
    _, _, made = await pool.door.post("/v1/route", {"text": "paris"}, f"x-request-id: {'a' * 200}\r\n")

    assert kept.headers[b"x-request-id"] == b"abc-1"
    assert re.fullmatch(rb"[0-9a-f]{16,32}", made.headers[b"x-request-id"])


async def test_no_match_tells_every_score(pool: World) -> None:
    _, answer, _ = await pool.door.post("/v1/predict", {"text": "zebra"})

    assert answer["decision"] == "Rejected"
    assert answer["threshold"] == 0.35
    assert {one["name"] for one in answer["members"]} == {"banking", "travel"}
    assert all(one["similarity"] < 0.35 for one in answer["members"])


def tensor(**changes: object) -> dict:
    return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"], **changes}


BAD_TENSORS = [
    ({"inputs": []}, "BadTensor", "exactly one input"),
    ({}, "MissingField", "'inputs' is required"),
    ({"inputs": [tensor(name="txt")]}, "BadTensor", "allowed: text"),
    ({"inputs": [tensor(datatype="FP32")]}, "BadTensor", "must be BYTES"),
    ({"inputs": [tensor(shape=[2])]}, "BadTensor", "shape [2] but 1 elements"),
    ({"inputs": [tensor(shape=[])]}, "BadTensor", "[n] or [n, 1]"),
    ({"inputs": [tensor(shape=[1, 2])]}, "BadTensor", "[n] or [n, 1]"),
    ({"inputs": [tensor(data=[3])]}, "BadTensor", "must be strings, not int"),
    ({"inputs": [tensor(data=None)]}, "BadTensor", "neither data nor binary_data_size"),
    ({"inputs": [tensor(data=[" "])]}, "TextEmpty", "empty"),
    ({"inputs": [tensor(data=None, parameters={"binary_data_size": 9})]}, "BadTensor", "0 bytes came"),
    ({"inputs": [tensor()], "outputs": [{"name": "logits"}]}, "BadTensor", "allowed: scores, labels"),
]


@pytest.mark.parametrize(("body", "reason", "text"), BAD_TENSORS)
@pytest.mark.parametrize("model", ["assistant", "banking"])
async def test_a_bad_tensor_is_answered_with_what_is_wrong_with_it(
    pool: World, model: str, body: dict, reason: str, text: str
) -> None:
    status, answer, _ = await pool.door.post(f"/v2/models/{model}/infer", body)

    assert (status, answer["reason"]) == (400, reason)
    assert text in answer["error"]


async def test_binary_tensors_that_do_not_fit_their_lengths_are_refused(pool: World) -> None:
    blob = struct.pack("<I", 100) + b"short"
    head = json.dumps({"inputs": [tensor(data=None, parameters={"binary_data_size": len(blob)})]}).encode()

    for length in (len(head), len(head) + 1000, "x"):
        status, answer, _ = await pool.door.post(
            "/v2/models/assistant/infer", head + blob, f"Inference-Header-Content-Length: {length}\r\n"
        )
        assert (status, answer["reason"]) == (400, "BadTensor")


async def test_binary_text_that_is_no_utf8_is_refused(pool: World) -> None:
    blob = struct.pack("<I", 2) + b"\xc3\x28"
    head = json.dumps({"inputs": [tensor(data=None, parameters={"binary_data_size": len(blob)})]}).encode()

    status, answer, _ = await pool.door.post(
        "/v2/models/assistant/infer", head + blob, f"Inference-Header-Content-Length: {len(head)}\r\n"
    )

    assert (status, answer["reason"]) == (400, "TextNotUtf8")
    assert "byte 0 is 0xc3" in answer["error"]


async def test_the_admin_port_names_its_paths(pool: World) -> None:
    reply = await pool.door.admin.get("/metricz", 5.0)

    assert reply.status == 404
    assert "/metrics" in json.loads(reply.body)["error"]


async def test_no_internal_error_was_counted_after_all_this(pool: World) -> None:
    text = (await pool.door.admin.get("/metrics", 5.0)).body.decode()

    assert 'fastserve_requests_total{code="422",reason="NoMatch"}' in text
    assert 'code="500"' not in text
