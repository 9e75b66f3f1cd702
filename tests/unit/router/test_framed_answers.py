"""An answer's bytes: whatever was framed before it, they are its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.answers import PHRASES, Answer
from fastserve.router.doors import REQUEST_ID, request_id_of
from fastserve.router.framing import framed
from fastserve.router.protocol import Request

WORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=5)
HEADERS = st.lists(st.tuples(st.sampled_from(["allow", "retry-after", "x-a"]), WORDS), max_size=3).map(tuple)
ANSWERS = st.builds(
    Answer,
    st.sampled_from(sorted(PHRASES)),
    st.binary(max_size=20),
    HEADERS,
    st.sampled_from(["application/json", "text/plain"]),
    st.just(""),
    st.sampled_from(["", "one", "two"]),
)
LINES = st.sampled_from([b"", b"connection: close\r\n"])


def plainly(answer: Answer, lines: bytes, body: bytes) -> bytes:
    """The same without a memory."""
    named = (("x-request-id", answer.request_id),) if answer.request_id else ()
    kind, size = ("content-type", answer.content_type), ("content-length", str(len(answer.body)))
    fields = "".join(f"{name}: {value}\r\n" for name, value in (kind, size, *named, *answer.headers))
    head = f"HTTP/1.1 {answer.status} {PHRASES[answer.status]}\r\n{fields}"
    return head.encode("latin-1") + lines + b"\r\n" + body


@given(
    st.lists(st.tuples(ANSWERS, st.sampled_from([b"", b"connection: close\r\n"]), st.booleans()), max_size=4)
)
def test_each_answer_is_framed_as_if_it_were_the_first(answers: list[tuple[Answer, bytes, bool]]) -> None:
    for answer, lines, to_head in answers:
        body = b"" if to_head else answer.body
        assert framed(answer, lines, body) == plainly(answer, lines, body)


def test_requests_without_an_id_get_one_each() -> None:
    ids = [request_id_of(Request("GET", "/v2", {}, b"")) for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert all(REQUEST_ID.fullmatch(one.encode()) and re.fullmatch("[0-9a-f]{18}", one) for one in ids)


@pytest.mark.parametrize("given", [b"", b"with space", b"a" * 129, b"line\n", b"\xff"])
def test_an_id_that_is_none_is_replaced(given: bytes) -> None:
    assert request_id_of(Request("GET", "/v2", {b"x-request-id": given}, b"")) != given.decode("latin-1")
    assert request_id_of(Request("GET", "/v2", {b"x-request-id": b"mine"}, b"")) == "mine"
