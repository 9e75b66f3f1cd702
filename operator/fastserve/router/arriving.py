"""A request while it arrives: httptools (llhttp, strict) parses, and what llhttp lets pass is judged here.

Everything that is kept while a request arrives has a bound: the target, one header and all of them, the body,
what frames the body, and the requests of all connections together. Who raises in a callback ends the parsing
at that byte.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import httptools

from fastserve.router.answers import Refusal
from fastserve.router.holding import HEADER_COST, MAX_HELD_BYTES, Request, Room
from fastserve.router.targets import path_of

MAX_URL_BYTES = 8 * 1024
"""RFC 9110 §4.1 asks for at least 8000."""
MAX_HEADERS = 100
"""As nginx and Envoy have it; trailers count."""
MAX_HEADER_BYTES = 32 * 1024
MAX_HEAD_BYTES = MAX_URL_BYTES + MAX_HEADER_BYTES
"""llhttp's callers gather one header before they tell of it, so bytes are counted beside headers."""
MAX_FRAMING_BYTES = 16 * 1024
"""Of chunk sizes, extensions and trailers, over twice what the body has. Go's net/http allows as much, since
CVE-2023-39326; a chunk bomb is over after some thousands of chunks."""
SINGLE = frozenset(
    (
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"inference-header-content-length",
        b"transfer-encoding",
        b"x-api-key",
        b"x-request-id",
    )
)
"""Headers that may not be repeated, beside all of ours: who is before us may have read the other one."""
OURS = b"x-fastserve-"
LISTS = frozenset((b"traceparent", b"tracestate"))
"""Headers that are joined where they are repeated; of two traceparents that makes none, as W3C has it."""


@dataclass(frozen=True)
class Ends:
    """Where what was read goes: `arrived` gets whole requests, `expected` hears that a caller waits for
    ``100 Continue``; `limit_of` is the bound of a body by its headers, or raises Refusal where
    none is taken."""

    arrived: Callable[[Request], None]
    expected: Callable[[], None]
    limit_of: Callable[[Mapping[bytes, bytes]], int]
    room: Room


class Arriving:
    """What arrives on one connection. The methods that begin with ``on_`` are called by httptools.

    `started` says whether a request began and is not whole, `size` how much of its body came.
    """

    __slots__ = (
        "_body",
        "_count",
        "_ends",
        "_fed",
        "_head",
        "_head_size",
        "_headers",
        "_in_body",
        "_keep_alive",
        "_limit",
        "_parser",
        "_path",
        "_refusal",
        "_url",
        "size",
        "started",
    )

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._parser: Any = httptools.HttpRequestParser(self)
        self._refusal: Refusal | None = None
        self.started = self._in_body = self._keep_alive = False
        self.size = self._fed = self._head = self._head_size = self._count = self._limit = 0
        self._url = b""
        self._path = ""
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""

    def feed(self, data: bytes | memoryview) -> None:
        """Take what came. Raises Refusal; nothing may be fed after that."""
        self._fed += len(data)
        while True:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as pause:
                data = self._without_upgrade(data, pause.args[0])
            except httptools.HttpParserError as error:
                raise self._refusal or _not_http(error) from error
        if self._fed > MAX_FRAMING_BYTES:
            self._check_framing()

    def close(self) -> None:
        """Let go of everything."""
        self._ends.room.taken -= self._head + self.size
        self._head = self.size = 0
        self._body, self._headers = b"", {}
        # The parser holds this object's methods: without this only the garbage collector frees both.
        self._parser = None

    # httptools' side

    def on_message_begin(self) -> None:
        self.started = True
        self._in_body = False
        self._fed = self._head_size = self._count = 0
        self._url, self._headers = b"", {}

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_URL_BYTES:
            self._stop("UrlTooLong", f"the URL is longer than {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes | None) -> None:
        value = value or b""
        self._head_size += len(name) + len(value)
        self._count += 1
        if self._head_size > MAX_HEADER_BYTES or self._count > MAX_HEADERS:
            self._stop_headers()
        if self._in_body:
            return  # A trailer: nothing that it could say is needed, and much would be dangerous.
        name = name.lower()
        if name in self._headers:
            value = self._repeated(name, value)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        headers = self._headers
        if b"upgrade" in headers and self._parser.should_upgrade():
            return  # llhttp calls the message whole now, and its body another protocol.
        self._in_body, self._fed = True, 0
        self._keep_alive = self._parser.should_keep_alive()
        # Without that header only HTTP/1.1 keeps a connection, and asking for the version costs more.
        if not self._keep_alive or b"connection" in headers:
            self._check_version()
        elif b"host" not in headers:
            self._stop("BadRequest", "the header 'host' is missing")
        try:
            self._path = path_of(self._url)
            self._limit = self._ends.limit_of(headers)
        except Refusal as refusal:
            self._refusal = refusal
            raise
        self._hold_head()
        length = headers.get(b"content-length")
        if length is None:
            self._check_coding()
        elif int(length) > self._limit:
            self._stop_body()
        if b"expect" in headers:
            self._check_expectation()

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self.size += size
        room = self._ends.room
        room.taken += size
        if self.size > self._limit:
            self._stop_body()
        if room.taken > MAX_HELD_BYTES:
            self._check_room()
        if not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body

    def on_message_complete(self) -> None:
        if not self._in_body:
            return
        method = self._parser.get_method().decode("ascii")
        if method == "CONNECT":
            self._stop("BadRequest", "CONNECT is not supported: this is no proxy")
        request = Request(
            method, self._path, self._headers, bytes(self._body), self._keep_alive, head_size=self._head
        )
        # What it takes in the room is the request's now.
        self.started = self._in_body = False
        self.size = self._fed = self._head = 0
        self._body = b""
        self._ends.arrived(request)

    # ours

    def _without_upgrade(self, data: bytes | memoryview, at: int) -> bytes:
        """Who asks for another protocol is answered in this one, as RFC 9110 §7.8 has it: the head is read
        again without the wish, and what follows it as what it is."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        del self._headers[b"upgrade"]
        lines = b"".join([b"%b: %b\r\n" % line for line in self._headers.items()])
        return b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self._url, version, lines, bytes(data[at:]))

    def _hold_head(self) -> None:
        self._head = len(self._url) + self._head_size + HEADER_COST * self._count
        room = self._ends.room
        room.taken += self._head
        if room.taken > MAX_HELD_BYTES:
            self._check_room()

    def _check_framing(self) -> None:
        if not self._in_body:
            if self._fed > MAX_HEAD_BYTES:
                raise _headers_too_large()
        elif self._fed > 2 * self.size + MAX_FRAMING_BYTES:
            raise Refusal("BadRequest", "the chunks of the body hold little but their own sizes")

    def _check_version(self) -> None:
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop("BadRequest", f"HTTP/{version} is not supported (allowed: 1.1, 1.0)")
        if version == "1.1" and b"host" not in self._headers:
            self._stop("BadRequest", "the header 'host' is missing")
        if version == "1.0":
            # RFC 9112 §6.1: such a message is to be taken for a trick with its frame.
            if b"transfer-encoding" in self._headers:
                self._stop("BadRequest", "HTTP/1.0 has no transfer coding")
            self._headers.pop(b"expect", None)

    def _check_coding(self) -> None:
        coding = self._headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            shown = coding[:40].decode("latin-1")
            self._stop("BadRequest", f"the transfer coding {shown!r} is not supported (allowed: chunked)")

    def _check_expectation(self) -> None:
        if self._headers[b"expect"].lower() != b"100-continue":
            self._stop("ExpectationFailed", "100-continue is all that can be expected")
        self._ends.expected()

    def _check_room(self) -> None:
        """Where a body may be larger than all of the room, there is still room for one."""
        most = max(MAX_HELD_BYTES, 2 * self._limit)
        if self._ends.room.taken > most:
            self._stop("BodiesTooMany", f"all requests take more than {most} bytes together")

    def _repeated(self, name: bytes, value: bytes) -> bytes:
        """What a header counts as that was there before."""
        if name in SINGLE or name.startswith(OURS):
            self._stop("BadRequest", f"the header {name.decode('latin-1')!r} is there more than once")
        return b"%b,%b" % (self._headers[name], value) if name in LISTS else value

    def _stop_headers(self) -> NoReturn:
        self._refusal = _headers_too_large()
        raise self._refusal

    def _stop_body(self) -> NoReturn:
        message = f"the body is larger than {self._limit} bytes (router.limits.maxRequestBytes)"
        self._stop("BodyTooLarge", message)

    def _stop(self, reason: str, message: str) -> NoReturn:
        """Kept as well as raised: httptools loses what some of its callbacks raise."""
        self._refusal = Refusal(reason, message)
        raise self._refusal


def _headers_too_large() -> Refusal:
    message = f"the headers are larger than {MAX_HEADER_BYTES} bytes, or more than {MAX_HEADERS}"
    return Refusal("HeadersTooLarge", message)


def _not_http(error: Exception) -> Refusal:
    return Refusal("BadRequest", f"this is not HTTP/1.1: {error}")
