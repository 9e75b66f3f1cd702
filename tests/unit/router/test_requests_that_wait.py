"""What requests hold that wait on their connections: heads as well as bodies, counted in and out again."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.arriving import MAX_HEADERS
from fastserve.router.pipelining import MAX_PIPELINED, MAX_PIPELINED_BYTES
from pretend_connection import REQUEST, Connected
from virtual_time import run_in_virtual_time

LARGE = b"GET / HTTP/1.1\r\nhost: a\r\na: %b\r\n\r\n" % (b"b" * 30_000)
SHORT = b"".join([b"%d:\r\n" % n for n in range(MAX_HEADERS - 1)])
MANY = b"GET / HTTP/1.1\r\nhost: a\r\n%b\r\n" % SHORT
TARGET = b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % (b"a" * 8000)


@pytest.mark.parametrize(
    ("request_", "waiting"),
    [(LARGE, 3), (MANY, 6), (TARGET, 9), (REQUEST, MAX_PIPELINED + 1)],
    ids=["a large header", "many short headers", "a long target", "a usual one"],
)
async def test_heads_that_wait_are_bounded_as_bodies_are(request_: bytes, waiting: int) -> None:
    one = Connected()
    one.hold = asyncio.Event()

    for _ in range(100):
        if one.wire.reading:
            one.line.data_received(request_)
    await asyncio.sleep(0)

    assert not one.wire.reading
    assert len(one.line._waiting._items) == waiting
    assert one.server.room.taken < 2 * MAX_PIPELINED_BYTES
    one.hold.set()
    while one.wire.sent.count(b"200 OK") < waiting + 1:
        await asyncio.sleep(0)
    assert (one.wire.reading, one.server.room.taken) == (True, 0)


async def test_requests_without_bodies_find_no_more_room_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastserve.router.arriving.MAX_HELD_BYTES", 2 << 20)
    one = Connected()
    one.hold = asyncio.Event()
    one.server.room.taken = (2 << 20) - 40_000

    one.line.data_received(LARGE + LARGE)
    one.hold.set()
    await asyncio.sleep(0.01)

    assert one.refusals == ["BodiesTooMany"]
    assert one.wire.sent.index(b"200 OK") < one.wire.sent.index(b"503 Service Unavailable")
    one.line.connection_lost(None)
    assert one.server.room.taken == (2 << 20) - 40_000


CHUNKED = (
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\na: trailer\r\n\r\n"
)
UPGRADE = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\na"
EXPECTS = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
TOO_LARGE = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n"
SENT = (
    REQUEST,
    LARGE,
    MANY,
    CHUNKED,
    UPGRADE,
    EXPECTS,
    TOO_LARGE,
    b"rubbish\r\n\r\n",
    REQUEST[:-1],
    LARGE[:500],
)
STEPS = st.lists(st.sampled_from((*SENT, "answer", "hold", "deaf", "listens", "later")), max_size=20)


@given(STEPS)
def test_however_a_connection_goes_its_requests_give_back_what_they_took(
    steps: Sequence[bytes | str],
) -> None:
    async def story() -> None:
        one = Connected()
        one.hold = asyncio.Event()
        for step in steps:
            await do(one, step)
            waiting = one.line._waiting.size
            serving = one.line._serving.held if one.line._serving else 0
            arriving = one.line._arriving
            assert one.server.room.taken == waiting + serving + arriving._head + arriving.size
        one.line.connection_lost(None)
        assert one.server.room.taken == 0
        await asyncio.sleep(0.1)
        assert one.server.room.taken == 0

    run_in_virtual_time(story())


async def do(one: Connected, step: bytes | str) -> None:
    if isinstance(step, bytes):
        one.line.data_received(step)
    elif step in ("answer", "hold") and one.hold is not None:
        (one.hold.set if step == "answer" else one.hold.clear)()
        await asyncio.sleep(0.01)
    elif step == "deaf":
        one.line.pause_writing()
    elif step == "listens":
        one.line.resume_writing()
    else:
        one.after(60.0)
