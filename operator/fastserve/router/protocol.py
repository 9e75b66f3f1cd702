"""HTTP/1.1 as a server: one asyncio.Protocol per connection over httptools (llhttp).

Requests that are pipelined on one connection are answered one after the other, in their order. Bodies
are bounded while they arrive, so that neither a large one nor many small chunks are kept in memory.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import httptools

from fastserve.router.answers import PHRASES, Answer, Refusal, error_answer

MAX_URL_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024
MAX_PIPELINED = 32
"""Requests that wait on one connection before it is read no further."""
MAX_DISCARDED_BYTES = 256 * 1024
"""Bytes read and thrown away after a refusal, so that the caller gets to read why."""
LINGER_SECONDS = 1.0
MESSAGE_SECONDS = 30.0
"""Within which a request must have arrived whole."""
IDLE_SECONDS = 75.0
"""After which an unused connection is closed; longer than our own clients keep theirs."""

log = logging.getLogger(__name__)
_HEADS = {status: f"HTTP/1.1 {status} {phrase}\r\n".encode("latin-1") for status, phrase in PHRASES.items()}


@dataclass(slots=True)
class Request:
    """One request. Header names are in lower case; of repeated ones the last counts."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool = True


Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(eq=False)
class HttpServer:
    """What the connections of one port share. `draining` puts ``Connection: close`` on every answer."""

    handler: Handler
    max_body_bytes: Callable[[Mapping[bytes, bytes]], int]
    """Bound of a body, by the headers of its request."""
    draining: bool = False
    in_flight: int = 0
    last_request: float = 0.0
    connections: set["ServerConnection"] = field(default_factory=set)

    def connection(self) -> "ServerConnection":
        return ServerConnection(self)

    def sweep(self, now: float) -> None:
        """Close what is idle, refuse what arrives too slowly."""
        for connection in tuple(self.connections):
            connection.sweep(now)

    def close_connections(self) -> None:
        for connection in tuple(self.connections):
            connection.close()


class ServerConnection(asyncio.Protocol):
    """One client's connection. The methods without an underscore are called by asyncio and httptools."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Request | Answer] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._refused = False
        self._writable = True
        self._discarded = 0
        self._since = self._loop.time()
        self._arriving = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._header_size = 0
        self._limit = 0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the face of asyncio.Transport without being one.
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._server.connections.discard(self)
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._discard(len(data))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("BadRequest", "a change of protocol is not supported")
        except httptools.HttpParserError as error:
            self._refuse("BadRequest", f"this is not HTTP/1.1: {error}")

    def eof_received(self) -> bool:
        """A caller that closed its half has gone: nothing is kept open for it, unless it waits."""
        return self._task is not None or bool(self._waiting)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._next()

    # httptools' side

    def on_message_begin(self) -> None:
        self._arriving = True
        self._since = self._loop.time()
        self._url = b""
        self._headers = {}
        self._body = []
        self._size = self._header_size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_URL_BYTES:
            self._refuse("UrlTooLong", f"the URL is longer than {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes | None) -> None:
        value = value or b""
        self._header_size += len(name) + len(value)
        if self._header_size > MAX_HEADER_BYTES:
            self._refuse("HeadersTooLarge", f"the headers are larger than {MAX_HEADER_BYTES} bytes")
            return
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._parser.should_upgrade():
            self._refuse("BadRequest", "a change of protocol is not supported")
            return
        self._limit = self._server.max_body_bytes(self._headers)
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > self._limit:
            self._refuse_body()
        elif self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limit:
            self._refuse_body()
        elif not self._refused:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        self._arriving = False
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._waiting.append(
            Request(
                self._parser.get_method().decode("latin-1"),
                self._url.decode("latin-1"),
                self._headers,
                body,
                self._parser.should_keep_alive(),
            )
        )
        if len(self._waiting) > MAX_PIPELINED:
            self._transport.pause_reading()
        self._next()

    # ours

    def sweep(self, now: float) -> None:
        """`now` is the loop's time, seconds."""
        if self._refused or self._task is not None or self._waiting:
            return
        if self._arriving and now - self._since > MESSAGE_SECONDS:
            self._refuse("RequestTimeout", f"the request did not arrive within {MESSAGE_SECONDS:.0f} s")
        elif not self._arriving and now - self._since > IDLE_SECONDS:
            self._transport.close()

    def close(self) -> None:
        self._transport.close()

    def _refuse_body(self) -> None:
        message = f"the body is larger than {self._limit} bytes (router.limits.maxRequestBytes)"
        self._refuse("BodyTooLarge", message)

    def _refuse(self, reason: str, message: str) -> None:
        """Answer after what was asked before, then read no more requests."""
        if self._refused:
            return
        self._refused = True
        self._waiting.append(error_answer(Refusal(reason, message)))
        self._next()

    def _next(self) -> None:
        if self._task is not None or not self._waiting or not self._writable:
            return
        item = self._waiting.popleft()
        if isinstance(item, Answer):
            self._write(item, b"connection: close\r\n")
            self._linger()
            return
        self._task = self._loop.create_task(self._serve(item))

    async def _serve(self, request: Request) -> None:
        server = self._server
        server.in_flight += 1
        try:
            answer = await server.handler(request)
        except Exception:  # whatever it is, the caller must not wait for ever
            log.exception("handler failed", extra={"path": request.path})
            answer = error_answer(Refusal("Internal", "an error of the router; its log has the details"))
        finally:
            server.in_flight -= 1
            server.last_request = self._since = self._loop.time()
            self._task = None
        self._finish(request, answer)

    def _finish(self, request: Request, answer: Answer) -> None:
        stays = request.keep_alive and not self._server.draining
        if request.method == "HEAD":
            self._write(answer, b"" if stays else b"connection: close\r\n", with_body=b"")
        else:
            self._write(answer, b"" if stays else b"connection: close\r\n", with_body=answer.body)
        if not stays:
            self._transport.close()
            return
        if len(self._waiting) <= MAX_PIPELINED and not self._transport.is_reading():
            self._transport.resume_reading()
        self._next()

    def _write(self, answer: Answer, extra: bytes, with_body: bytes | None = None) -> None:
        fields = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
        head = f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n{fields}"
        body = answer.body if with_body is None else with_body
        self._transport.write(b"".join((_HEADS[answer.status], head.encode("latin-1"), extra, b"\r\n", body)))

    def _linger(self) -> None:
        """Closing at once would reset the connection while the caller still sends, and lose the answer."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > MAX_DISCARDED_BYTES:
            self._transport.abort()
