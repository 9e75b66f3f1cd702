"""From an answer to the bytes that go over the wire. Pure."""

from fastserve.router.answers import PHRASES, Answer

_HEADS = {status: f"HTTP/1.1 {status} {phrase}\r\n".encode("latin-1") for status, phrase in PHRASES.items()}


def framed(answer: Answer, lines: bytes, body: bytes) -> bytes:
    """The head, `lines` (more headers, each ended by CRLF), and `body`: the answer's, or none to HEAD."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
    head = f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n{fields}"
    return b"".join((_HEADS[answer.status], head.encode("latin-1"), lines, b"\r\n", body))
