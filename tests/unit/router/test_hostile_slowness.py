"""Who is slow: in sending a head, a body, or in reading the answer. Time is what the sweep is told."""

import asyncio

from fastserve.router.answers import Answer
from fastserve.router.patience import ANSWER_SECONDS, HEAD_SECONDS, IDLE_SECONDS, LEAST_RATE
from fastserve.router.protocol import HttpServer, Request, ServerConnection
from pretend_connection import REQUEST, Connected, Wire

EXPECTING = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"


async def test_a_head_that_does_not_end_is_refused() -> None:
    slow = Connected()
    slow.line.data_received(b"POST / HTTP/1.1\r\nhost:")

    assert slow.after(HEAD_SECONDS - 1).wire.sent == b""
    slow.line.data_received(b"a")
    assert b"408" in slow.after(HEAD_SECONDS + 1).wire.sent
    assert slow.refusals == ["RequestTimeout"]


async def test_a_body_below_the_least_rate_is_refused_and_one_above_is_not() -> None:
    slow, steady = Connected(), Connected()
    for one, size in ((slow, 10 * LEAST_RATE), (steady, 30 * LEAST_RATE)):
        one.line.data_received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n" + b"a" * size)

    assert b"408" in slow.after(HEAD_SECONDS + 25).wire.sent
    assert steady.after(HEAD_SECONDS + 25).wire.sent == b""


async def test_time_for_a_request_begins_with_its_first_byte() -> None:
    kept = Connected()
    kept.line._since -= IDLE_SECONDS - 1  # it was idle for long

    kept.line.data_received(b"POST")

    assert kept.after(HEAD_SECONDS - 1).refusals == []


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    idle = Connected()

    assert idle.after(IDLE_SECONDS - 1).wire.end == ""
    assert idle.after(IDLE_SECONDS + 1).wire.end == "closed"
    assert idle.wire.sent == b""


async def test_one_that_waits_for_its_answer_is_neither_idle_nor_slow() -> None:
    waiting = Connected()
    waiting.hold = asyncio.Event()
    waiting.line.data_received(REQUEST + b"POST / HT")
    await asyncio.sleep(0)

    assert waiting.after(10 * IDLE_SECONDS).wire.end == ""
    waiting.hold.set()
    await asyncio.sleep(0.01)
    assert waiting.wire.sent.startswith(b"HTTP/1.1 200")


async def test_who_does_not_read_a_large_answer_is_cut_off() -> None:
    deaf = Connected()
    deaf.line.data_received(REQUEST)
    deaf.line.pause_writing()

    assert deaf.after(ANSWER_SECONDS - 1).wire.end == ""
    assert deaf.after(ANSWER_SECONDS + 1).wire.end == "aborted"


async def test_who_does_not_read_a_small_answer_is_cut_off() -> None:
    deaf = Connected()
    deaf.line.data_received(REQUEST)
    await asyncio.sleep(0.01)
    deaf.wire.unsent = 10

    assert deaf.after(ANSWER_SECONDS + 1).wire.end == "aborted"


async def test_who_does_not_read_a_refusal_is_cut_off_as_well() -> None:
    deaf = Connected()
    deaf.line.data_received(b"rubbish\r\n\r\n")
    assert b"400" in deaf.wire.sent

    assert deaf.after(ANSWER_SECONDS + 1).wire.end == "aborted"


async def test_who_does_not_read_is_given_no_more_answers() -> None:
    deaf = Connected()
    deaf.line.pause_writing()
    deaf.line.data_received(REQUEST * 100)
    await asyncio.sleep(0.01)
    assert (deaf.wire.sent, deaf.wire.reading) == (b"", False)

    deaf.line.resume_writing()
    while deaf.wire.sent.count(b"200 OK") < 100:
        await asyncio.sleep(0)
    assert deaf.wire.reading


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    last = Connected()
    last.hold = asyncio.Event()
    last.line.data_received(REQUEST + b"rubbish\r\n\r\n")
    await asyncio.sleep(0)
    assert last.after(10 * ANSWER_SECONDS).wire.end == ""

    last.hold.set()
    await asyncio.sleep(0.01)
    assert last.wire.sent.index(b"200 OK") < last.wire.sent.index(b"400 Bad Request")


async def test_who_waits_to_be_told_to_go_on_is_told_after_what_was_asked_before() -> None:
    polite = Connected()
    polite.hold = asyncio.Event()
    polite.line.data_received(REQUEST + EXPECTING)
    await asyncio.sleep(0)
    assert polite.wire.sent == b""

    polite.hold.set()
    await asyncio.sleep(0.01)
    assert polite.wire.sent.index(b"200 OK") < polite.wire.sent.index(b"100 Continue")


async def test_a_task_that_is_cancelled_before_it_ran_gives_its_room_back() -> None:
    gone = Connected()
    gone.line.data_received(REQUEST)
    assert gone.server.room.taken > len(REQUEST)

    gone.line.connection_lost(None)

    assert (gone.server.room.taken, gone.server.connections, gone.server.unasked) == (0, set(), {})


async def test_a_full_server_does_not_keep_more_than_its_reserve() -> None:
    server = HttpServer(_never, lambda _: 1, max_connections=3)
    lines: list[tuple[ServerConnection, Wire]] = []
    for _ in range(3):
        line, wire = server.connection(), Wire()
        line.connection_made(wire)
        line.data_received(REQUEST)
        lines.append((line, wire))

    late = [Wire() for _ in range(300)]
    for wire in late:
        server.connection().connection_made(wire)

    assert all(b"503" in wire.sent for wire in late)
    assert [wire.end for wire in late] == [""] * 256 + ["closed"] * 44
    for line, _ in lines:
        line.connection_lost(None)


async def _never(_: Request) -> Answer:
    return Answer(200, await asyncio.get_running_loop().create_future())
