"""An attacker at the data port: raw bytes against a real router, and what they are answered."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from fastserve.router.arriving import MAX_HEADERS
from fastserve.router.pipelining import MAX_DISCARDED_BYTES
from wiring.router.router_world import Node, World, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = b'{"text": "book a flight to paris"}'
LIMIT = 4096


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    async with world(folder, ["banking", "travel"], limits={"maxRequestBytes": LIMIT}) as started:
        yield started


def get(target: bytes, *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    head = b"".join(line + b"\r\n" for line in (b"host: a", *lines))
    return b"POST /v1/route " + version + b"\r\n" + head + b"\r\n" + body


HOST = b"host: a"
CHUNKED = b"transfer-encoding: chunked"
LENGTH = b"content-length: %d" % len(TEXT)
ONE_CHUNK = b"%x\r\n%b\r\n" % (len(TEXT), TEXT)
V2 = get(b"/v2", HOST, b"connection: close")
"""Well formed; sent behind everything, to see whether it is taken for a request of its own."""


async def connect(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = node.data.address.split(":")
    return await asyncio.open_connection(host, int(port))


async def answers_to(node: Node, data: bytes) -> list[tuple[int, str]]:
    """Status and reason of every answer until the router closes."""
    reader, writer = await connect(node)
    answers: list[tuple[int, str]] = []
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            while head := await head_of(reader):
                body = await reader.readexactly(int(header_of(head, "content-length")))
                answers.append((int(head[0].split()[1]), json.loads(body).get("reason", "")))
    finally:
        writer.close()
    return answers


async def head_of(reader: asyncio.StreamReader) -> list[str]:
    """Lines of the next answer's head; none where the connection was closed in order."""
    first = await reader.readline()
    rest = await reader.readuntil(b"\r\n\r\n") if first else b""
    return (first + rest).decode("latin-1").lower().split("\r\n") if first else []


def header_of(head: list[str], name: str) -> str:
    return next((line.split(": ", 1)[1] for line in head if line.startswith(f"{name}: ")), "")


async def refused(node: Node) -> float:
    """What the router counts as refused before the handler saw it."""
    lines = (await node.admin.get("/metrics", 5.0)).body.decode().splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("fastserve_http_refusals_total"))


FRAMES = [
    ("a length and chunks", post(LENGTH, CHUNKED, body=ONE_CHUNK + b"0\r\n\r\n")),
    ("chunks and a length", post(CHUNKED, LENGTH, body=ONE_CHUNK + b"0\r\n\r\n")),
    ("two lengths that differ", post(LENGTH, b"content-length: 3", body=TEXT)),
    ("two lengths that are alike", post(LENGTH, LENGTH, body=TEXT)),
    ("a list of lengths", post(b"content-length: 34, 34", body=TEXT)),
    ("a length with a sign", post(b"content-length: +34", body=TEXT)),
    ("a length in hexadecimal", post(b"content-length: 0x22", body=TEXT)),
    ("a length that is empty", post(b"content-length:", body=TEXT)),
    ("a length that overflows", post(b"content-length: 99999999999999999999999")),
    ("a length below zero", post(b"content-length: -1")),
    ("chunks twice", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    ("chunks inside of chunks", post(b"transfer-encoding: chunked, chunked", body=b"0\r\n\r\n")),
    ("another coding below the chunks", post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n")),
    ("another coding above the chunks", post(b"transfer-encoding: chunked, gzip", body=b"0\r\n\r\n")),
    ("no coding that there is", post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n")),
    ("the coding identity", post(b"transfer-encoding: identity", LENGTH, body=TEXT)),
    ("a coding that is empty", post(b"transfer-encoding:", LENGTH, body=TEXT)),
    ("a coding behind a vertical tab", post(b"transfer-encoding:\x0bchunked", body=b"0\r\n\r\n")),
    ("a coding in a folded line", post(b"transfer-encoding:\r\n chunked", body=b"0\r\n\r\n")),
    ("chunks in HTTP/1.0", post(CHUNKED, body=b"0\r\n\r\n", version=b"HTTP/1.0")),
    ("a chunk of no size", post(CHUNKED, body=b"\r\nabc\r\n0\r\n\r\n")),
    ("a chunk of a size below zero", post(CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n")),
    ("a chunk with 0x", post(CHUNKED, body=b"0x1\r\na\r\n0\r\n\r\n")),
    ("a chunk of a size that overflows", post(CHUNKED, body=b"fffffffffffffffff\r\na")),
    ("a chunk longer than its size", post(CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n")),
    ("a chunk's size ended by LF", post(CHUNKED, body=b"1\na\n0\n\n")),
    ("a chunk's size with a space", post(CHUNKED, body=b"1 \r\na\r\n0\r\n\r\n")),
    ("an extension with a bare LF", post(CHUNKED, body=b"1;a\nb\r\na\r\n0\r\n\r\n")),
    ("a trailer that gives a length", post(CHUNKED, body=b"0\r\ncontent-length: 5\r\n\r\n")),
    ("extensions without end", post(CHUNKED, body=b"1;" + b"a" * 400_000)),
    ("a size of zeros without end", post(CHUNKED, body=b"0" * 400_000)),
    ("chunks of one byte, and much beside it", post(CHUNKED, body=(b"1;" + b"a" * 99 + b"\r\na\r\n") * 4000)),
]
LINES = [
    ("a folded header", get(b"/v2", HOST, b"a: b\r\n c")),
    ("a header folded by a tab", get(b"/v2", HOST, b"a: b\r\n\tc")),
    ("a space before the first header", get(b"/v2", b" host: a")),
    ("a space before the colon", get(b"/v2", HOST, b"a : b")),
    ("a space in a name", get(b"/v2", HOST, b"a b: c")),
    ("a header without a colon", get(b"/v2", HOST, b"abc")),
    ("a header without a name", get(b"/v2", HOST, b": abc")),
    ("a NUL in a name", get(b"/v2", HOST, b"a\0b: c")),
    ("a NUL in a value", get(b"/v2", HOST, b"a: b\0c")),
    ("a control byte in a value", get(b"/v2", HOST, b"a: b\x01c")),
    ("DEL in a value", get(b"/v2", HOST, b"a: b\x7fc")),
    ("a bare CR in a value", get(b"/v2", HOST, b"a: b\rc: d")),
    ("a bare LF behind a header", b"GET /v2 HTTP/1.1\r\nhost: a\nb: c\r\n\r\n"),
    ("bare LF everywhere", b"GET /v2 HTTP/1.1\nhost: a\n\n"),
    ("a bare LF at the end", b"GET /v2 HTTP/1.1\r\nhost: a\r\n\n"),
    ("no host", get(b"/v2")),
    ("no host, and a connection", get(b"/v2", b"connection: keep-alive")),
    ("two hosts", get(b"/v2", HOST, b"host: b")),
    ("two deadlines", post(b"x-fastserve-deadline-millis: 5", b"x-fastserve-deadline-millis: 9", LENGTH)),
    ("two lengths of a tensor's JSON", post(*[b"inference-header-content-length: 5"] * 2, LENGTH)),
    ("HTTP/0.9", b"GET /v2\r\n\r\n"),
    ("HTTP/0.9 by name", get(b"/v2", HOST, version=b"HTTP/0.9")),
    ("HTTP/1.2", get(b"/v2", HOST, version=b"HTTP/1.2")),
    ("HTTP/1.11", get(b"/v2", HOST, version=b"HTTP/1.11")),
    ("HTTP/2.0", get(b"/v2", HOST, version=b"HTTP/2.0")),
    ("http/1.1 in small letters", get(b"/v2", HOST, version=b"http/1.1")),
    ("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("a method in small letters", V2.replace(b"GET", b"get")),
    ("a method of no name", V2.replace(b"GET", b"G\x01T")),
    ("a method without end", b"A" * 300_000),
    ("a tab behind the method", V2.replace(b"GET ", b"GET\t")),
    ("a space behind the version", V2.replace(b"1.1\r\n", b"1.1 \r\n")),
    ("CONNECT to elsewhere by a path", b"CONNECT /v2 HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a NUL in the path", get(b"/v2\0", HOST)),
    ("a control byte in the path", get(b"/v\x01", HOST)),
    ("a byte that is no ASCII in the path", get(b"/v2\xff", HOST)),
    ("only an authority", get(b"example.org:80", HOST)),
]
PATHS = [
    ("a slash that is escaped", b"/v2%2fhealth/live"),
    ("a slash that is escaped in capitals", b"/v2%2Fhealth/live"),
    ("dots that are escaped", b"/v2/%2e%2e/v2"),
    ("dots that are half escaped", b"/v2/.%2e/v2"),
    ("a dot", b"/v2/./health/live"),
    ("two dots", b"/v1/../v2"),
    ("two slashes", b"//v2"),
    ("two slashes within", b"/v2//health/live"),
    ("a parameter", b"/v2;a=b/health/live"),
    ("a NUL that is escaped", b"/v2%00"),
    ("a line that is escaped", b"/v2%0d%0ax:y"),
    ("UTF-8 that is too long", b"/v2%c0%afhealth"),
    ("an escape of an escape", b"/v2%252fhealth"),
    ("an escape cut short", b"/v2%4"),
    ("an escape that is none", b"/v2%zz"),
    ("a backslash", b"/v2\\health"),
    ("a fragment", b"/v2#health"),
    ("another scheme", b"ftp://a/v2"),
    ("a user in the authority", b"http://a@b/v2"),
    ("no authority", b"http:///v2"),
    ("all of the server", b"*"),
]
LARGE = [
    ("a length far over the bound", post(b"content-length: 18446744073709551615"), 413, "BodyTooLarge"),
    ("200 MiB", post(b"content-length: 209715200", body=b"a" * 300_000), 413, "BodyTooLarge"),
    ("200 MiB in chunks", post(CHUNKED, body=b"c800000\r\n" + b"a" * 300_000), 413, "BodyTooLarge"),
    ("600,000 chunks of a byte", post(CHUNKED, body=b"1\r\na\r\n" * 600_000), 413, "BodyTooLarge"),
    ("a URL of 64 KiB", get(b"/" + b"a" * 65_536, HOST), 414, "UrlTooLong"),
    ("a query of 64 KiB", get(b"/v2?" + b"a" * 65_536, HOST), 414, "UrlTooLong"),
    ("100,000 headers", get(b"/v2", HOST, *[b"a:"] * 100_000), 431, "HeadersTooLarge"),
    ("one header too many", get(b"/v2", HOST, *[b"a:"] * MAX_HEADERS), 431, "HeadersTooLarge"),
    ("a header of 1 MiB", get(b"/v2", HOST, b"a: " + b"b" * 1_048_576), 431, "HeadersTooLarge"),
    ("a header's name of 1 MiB", get(b"/v2", HOST, b"b" * 1_048_576 + b": a"), 431, "HeadersTooLarge"),
    ("a trailer of 1 MiB", post(CHUNKED, body=b"0\r\na: " + b"b" * 1_048_576), 400, "BadRequest"),
    ("100,000 trailers", post(CHUNKED, body=b"0\r\n" + b"a:\r\n" * 100_000), 431, "HeadersTooLarge"),
    ("empty lines without end", b"\r\n" * 300_000, 431, "HeadersTooLarge"),
    ("an expectation that nobody has", post(b"expect: miracles", LENGTH), 417, "ExpectationFailed"),
]
TABLE = [
    *((name, data, 400, "BadRequest") for name, data in FRAMES + LINES),
    *((name, get(target, HOST), 400, "BadPath") for name, target in PATHS),
    *LARGE,
]


@pytest.mark.parametrize(
    ("data", "status", "reason"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
async def test_it_is_refused_once_and_what_follows_is_not_read(
    pool: World, data: bytes, status: int, reason: str
) -> None:
    before = await refused(pool.door)

    answers = await answers_to(pool.door, data + V2)

    assert answers == [(status, reason)]
    assert await refused(pool.door) == before + 1


OTHERS = [
    ("HTTP/1.0", get(b"/v2", version=b"HTTP/1.0"), [200]),
    ("HTTP/1.0 that stays", get(b"/v2", b"connection: keep-alive", version=b"HTTP/1.0") + V2, [200, 200]),
    ("an absolute form", get(b"http://example.org:80/v2?a=b", HOST) + V2, [200, 200]),
    ("letters that are escaped", get(b"/%76%32", HOST) + V2, [200, 200]),
    ("a query of tricks", get(b"/v2?a=%00&b=../..//;%2f?", HOST) + V2, [200, 200]),
    ("a path of none", get(b"/v2/", HOST) + V2, [404, 200]),
    ("TRACE", b"TRACE /v2 HTTP/1.1\r\nhost: a\r\n\r\n" + V2, [405, 200]),
    ("OPTIONS", b"OPTIONS /v2 HTTP/1.1\r\nhost: a\r\n\r\n" + V2, [405, 200]),
    ("PUT", b"PUT /v2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na" + V2, [405, 200]),
    ("the admin port's paths", get(b"/metrics", HOST) + get(b"/v1/state", HOST) + V2, [404, 404, 200]),
    ("a wish for HTTP/2", post(b"connection: upgrade", b"upgrade: h2c", LENGTH, body=TEXT) + V2, [200, 200]),
    ("a web socket", get(b"/v2", HOST, b"connection: upgrade", b"upgrade: websocket") + V2, [200, 200]),
    ("chunks", post(CHUNKED, body=ONE_CHUNK + b"0\r\n\r\n") + V2, [200, 200]),
    ("extensions", post(CHUNKED, body=b"22;a=b\r\n" + TEXT + b"\r\n0;c\r\n\r\n") + V2, [200, 200]),
    (
        "a trailer that would be a hop",
        post(CHUNKED, body=ONE_CHUNK + b"0\r\nx-fastserve-hop: 1\r\nhost: b\r\n\r\n") + V2,
        [200, 200],
    ),
    ("a body of a GET", get(b"/v2", HOST, LENGTH) + TEXT + V2, [200, 200]),
    ("a length with noughts", post(b"content-length: 00034", body=TEXT) + V2, [200, 200]),
    ("something behind the end", V2 + V2, [200]),
]


@pytest.mark.parametrize(("data", "statuses"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
async def test_it_is_answered_and_its_frame_is_kept(pool: World, data: bytes, statuses: list[int]) -> None:
    assert [status for status, _ in await answers_to(pool.door, data)] == statuses


async def test_a_thousand_pipelined_requests_are_all_answered(pool: World) -> None:
    reader, writer = await connect(pool.door)
    one = post(LENGTH, body=TEXT)
    sending = asyncio.ensure_future(_send(writer, one * 1000))

    async with asyncio.timeout(60):
        for _ in range(1000):
            head = await head_of(reader)
            assert head[0].startswith("http/1.1 200")
            await reader.readexactly(int(header_of(head, "content-length")))
        await sending
    writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_neighbours_are_answered_while_others_attack(pool: World) -> None:
    bomb = post(CHUNKED, body=b"1\r\na\r\n" * 100_000)
    attackers = [asyncio.create_task(answers_to(pool.door, bomb)) for _ in range(20)]

    for _ in range(10):
        status, _, _ = await pool.door.post("/v1/predict", TEXT)
        assert status == 200

    assert [await one for one in attackers] == [[(413, "BodyTooLarge")]] * 20


async def test_a_body_far_too_large_is_cut_off_where_its_sender_goes_on(pool: World) -> None:
    _, writer = await connect(pool.door)
    writer.write(post(b"content-length: 209715200"))
    part, sent = b"a" * 1_048_576, 0

    async with asyncio.timeout(20):
        while not writer.transport.is_closing():
            sent += len(part)
            with suppress(ConnectionError):
                await _send(writer, part)

    assert MAX_DISCARDED_BYTES < sent < 4 * MAX_DISCARDED_BYTES
    writer.close()


async def test_who_closes_a_half_is_gone_and_what_was_asked_is_given_up(pool: World) -> None:
    triton = pool.tritons["travel"]
    triton.delay = 30.0
    try:
        reader, writer = await connect(pool.door)
        writer.write(post(LENGTH, body=TEXT).replace(b"/v1/route", b"/v1/predict"))
        await pool.until(lambda: _is(pool.door.router.data.in_flight == 1))
        writer.write_eof()

        assert await reader.read() == b""
        await pool.until(lambda: _is(pool.door.router.data.in_flight == 0))
        await pool.until(lambda: _is(pool.nodes["travel"].router.data.in_flight == 0))
    finally:
        triton.delay = 0.0
        writer.close()


async def _is(fact: bool) -> bool:
    return fact


async def test_resets_in_the_middle_leave_nothing_behind(pool: World) -> None:
    data = pool.door.router.data
    for part in (b"POST /v1", post(LENGTH), post(LENGTH, body=TEXT[:9]), post(CHUNKED, body=ONE_CHUNK)):
        _, writer = await connect(pool.door)
        writer.write(part)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    await pool.until(lambda: _is(data.room.taken == 0 and len(data.connections) <= 1))


async def test_where_too_many_are_connected_the_longest_idle_makes_room(pool: World) -> None:
    data = pool.door.router.data
    kept, data.max_connections = data.max_connections, len(data.connections) + 2
    silent, slow = await connect(pool.door), await connect(pool.door)
    try:
        slow[1].write(b"POST /v1/route HTTP/1.1\r\nhost:")
        await pool.until(lambda: _is(any(one._arriving.started for one in data.connections)))
        pool.door.data.close()  # the test's own kept connections would have to go first

        fresh = [await connect(pool.door) for _ in range(6)]

        assert await silent[0].read() == b"", "one that asked nothing is closed without a word"
        assert b"ConnectionsTooMany" in await slow[0].read(), "one that is not done asking is told"
        fresh[-1][1].write(V2)
        assert (await head_of(fresh[-1][0]))[0] == "http/1.1 200 ok"
    finally:
        data.max_connections = kept
        for _, writer in (silent, slow, *fresh):
            writer.close()


async def test_where_all_have_asked_the_newest_is_told_to_come_again(pool: World) -> None:
    data, triton = pool.door.router.data, pool.tritons["travel"]
    kept, triton.delay = data.max_connections, 5.0
    busy = await connect(pool.door)
    try:
        busy[1].write(post(LENGTH, body=TEXT).replace(b"/v1/route", b"/v1/predict"))
        await pool.until(lambda: _is(data.in_flight == 1))
        data.max_connections = len(data.connections) - len(data.unasked)

        assert (await answers_to(pool.door, V2)) == [(503, "ConnectionsTooMany")]
    finally:
        data.max_connections, triton.delay = kept, 0.0
        busy[1].close()


async def test_nothing_of_all_this_was_an_error_or_came_to_a_triton(pool: World) -> None:
    text = (await pool.door.admin.get("/metrics", 5.0)).body.decode()

    assert 'code="500"' not in text
    assert pool.door.router.data.room.taken == 0
    assert {shape for triton in pool.tritons.values() for _, shape in triton.calls} == {1}
