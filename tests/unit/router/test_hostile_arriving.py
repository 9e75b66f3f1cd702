"""However bytes arrive, they make the same requests or one refusal, and nothing is kept beyond the bounds."""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.router import arriving as module
from fastserve.router.answers import STATUS, Refusal
from fastserve.router.arriving import MAX_FRAMING_BYTES, Arriving, Ends
from fastserve.router.holding import MAX_HELD_BYTES, Request, Room

LIMIT = 1 << 20
Outcome = tuple[list[tuple[str, str, bytes]], str]


class Connection:
    """Arriving bytes without a socket."""

    def __init__(self, limit: int = LIMIT, room: Room | None = None) -> None:
        self.requests: list[Request] = []
        self.expected = 0
        self.room = room or Room()
        self.arriving = Arriving(Ends(self.requests.append, self._expect, lambda _: limit, self.room))

    def _expect(self) -> None:
        self.expected += 1

    def outcome(self, parts: Iterable[bytes]) -> Outcome:
        """The requests, and the reason of the refusal where there is one."""
        reason = ""
        try:
            for part in parts:
                self.arriving.feed(part)
        except Refusal as refusal:
            reason = refusal.reason
        return [(one.method, one.path, one.body) for one in self.requests], reason


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


BODIES = st.binary(max_size=60)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request that is well formed."""
    body = draw(BODIES)
    wish = draw(st.sampled_from((b"", b"connection: upgrade\r\nupgrade: h2c\r\n")))
    head = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\n" + wish
    if draw(st.booleans()):
        return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cut(body, draw(PLACES)))
    trailer = draw(st.sampled_from((b"", b"a: b\r\n", b"x-fastserve-hop: 1\r\n")))
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


PLACES = st.lists(st.integers(0, 10_000), max_size=12)
WORDS = (
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"\r\n",
    b"\xff",
    b"a",
    b"%2e",
    b"0\r\n\r\n",
    b"content-length: 1\r\n",
    b"upgrade",
)
CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(WORDS)), max_size=4)


@settings(max_examples=200)
@given(st.lists(requests(), min_size=1, max_size=4), PLACES)
def test_where_bytes_are_cut_does_not_matter(sent: list[bytes], places: list[int]) -> None:
    data = b"".join(sent)
    whole, parts = Connection().outcome([data]), Connection().outcome(cut(data, places))

    assert whole == parts
    assert (len(whole[0]), whole[1]) == (len(sent), "")


@settings(max_examples=400)
@given(st.lists(requests(), min_size=1, max_size=3), CHANGES, PLACES)
def test_bytes_that_are_changed_make_requests_or_a_refusal(
    sent: list[bytes], changes: list[tuple[int, bytes]], places: list[int]
) -> None:
    data = b"".join(sent)
    for place, junk in changes:
        at = place % len(data)
        data = data[:at] + junk + data[at + place % 3 :]
    connection = Connection()

    got, reason = connection.outcome(cut(data, places))

    assert reason == "" or 400 <= STATUS[reason] < 500
    assert (got, reason) == Connection().outcome([data])
    assert b"x-fastserve-hop" not in {name for one in connection.requests for name in one.headers} or (
        b"\r\nx-fastserve-hop" in data
    )
    connection.arriving.close()
    assert connection.room.taken == sum(one.held for one in connection.requests)


def chunked(body: bytes) -> list[bytes]:
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    return cut(head + body, list(range(0, len(head + body), 4096)))


def test_a_chunk_bomb_is_over_long_before_its_body_is_large() -> None:
    connection = Connection()

    _, reason = connection.outcome(chunked(b"1\r\na\r\n" * 600_000))

    assert reason == "BadRequest"
    assert connection.arriving.size < MAX_FRAMING_BYTES


def test_chunks_of_a_usual_size_pass() -> None:
    got, reason = Connection().outcome(chunked(b"10\r\n0123456789abcdef\r\n" * 10_000 + b"0\r\n\r\n"))

    assert (reason, len(got[0][2])) == ("", 160_000)


@pytest.mark.parametrize("line", [b"a: ", b"a", b"x-fastserve-hop: "])
def test_a_header_without_end_is_refused_before_it_ends(line: bytes) -> None:
    connection, parts = Connection(), [b"b" * 1024] * 1024

    _, reason = connection.outcome(chain([b"GET / HTTP/1.1\r\nhost: a\r\n" + line], taken(parts)))

    assert reason == "HeadersTooLarge"
    assert 1024 * (1024 - len(parts)) <= module.MAX_HEAD_BYTES + 1024


def taken(parts: list[bytes]) -> Iterator[bytes]:
    """Each part as it is fed; what is left was not."""
    while parts:
        yield parts.pop()


def test_bodies_of_all_connections_share_one_room() -> None:
    room, kept, reasons = Room(), [], []
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % LIMIT
    while not reasons:
        kept.append(Connection(room=room))
        _, reason = kept[-1].outcome([head, b"a" * (LIMIT - 1)])
        reasons += [reason] if reason else []

    assert (STATUS[reasons[0]], reasons) == (503, ["BodiesTooMany"])
    assert MAX_HELD_BYTES < room.taken <= MAX_HELD_BYTES + LIMIT
    for one in kept:
        one.arriving.close()
    assert room.taken == 0


def test_a_body_larger_than_all_of_the_room_still_fits_where_it_may() -> None:
    large = MAX_HELD_BYTES + 1
    connection = Connection(limit=large)

    got, reason = connection.outcome(
        [b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % large, b"a" * large]
    )

    assert (reason, len(got[0][2])) == ("", large)
