"""From an answer to the bytes that go over the wire. Pure."""

from functools import lru_cache

from fastserve.router.answers import PHRASES, Answer


def framed(answer: Answer, lines: bytes, body: bytes) -> bytes:
    """The head, `lines` (more headers, each ended by CRLF), and `body`: the answer's, or none to HEAD."""
    request_id = answer.request_id
    named = b"x-request-id: %b\r\n" % request_id.encode("latin-1") if request_id else b""
    start, fields = _start(answer.status, answer.content_type), _fields(answer.headers)
    return b"%b%d\r\n%b%b%b\r\n%b" % (start, len(answer.body), named, fields, lines, body)


@lru_cache(maxsize=128)
def _start(status: int, content_type: str) -> bytes:
    head = f"HTTP/1.1 {status} {PHRASES[status]}\r\ncontent-type: {content_type}\r\ncontent-length: "
    return head.encode("latin-1")


@lru_cache(maxsize=1024)
def _fields(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Most answers have the headers of an earlier one: what names a single request is not among them."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
