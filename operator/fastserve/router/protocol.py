"""HTTP/1.1 as a server: one asyncio.Protocol per connection over router/arriving.py.

Requests that are pipelined on one connection are answered one after the other, in their order. A connection
is swept once a second: what arrives too slowly is refused, who does not read the answer is cut off. Where
there are too many connections, the one that asked nothing for longest makes room.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from fastserve.router import patience, pipelining
from fastserve.router.answers import Answer, Refusal, error_answer
from fastserve.router.arriving import Arriving, Ends
from fastserve.router.framing import framed
from fastserve.router.holding import Request, Room
from fastserve.router.pipelining import Pipeline

__all__ = ["Handler", "HttpServer", "Request", "ServerConnection"]

SWEEP_SECONDS = 1.0
MAX_CONNECTIONS = 4096
RESERVE = 256
"""Connections over the bound that may still wait to tell their refusal."""
log = logging.getLogger(__name__)
_TOO_MANY = Refusal("ConnectionsTooMany", "too many connections are open (router.limits.maxConnections)")
_CLOSE = b"connection: close\r\n"
Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(eq=False)
class HttpServer:
    """What the connections of one port share. `draining` puts ``Connection: close`` on every answer."""

    handler: Handler
    max_body_bytes: Callable[[Mapping[bytes, bytes]], int]
    """Bound of a body, by the headers of its request."""
    on_refusal: Callable[[str], None] = lambda _: None
    """Hears the reason of every request that is refused before the handler."""
    max_connections: int = MAX_CONNECTIONS
    draining: bool = False
    in_flight: int = 0
    last_request: float = 0.0
    room: Room = field(default_factory=Room)
    connections: set["ServerConnection"] = field(default_factory=set)
    unasked: dict["ServerConnection", None] = field(default_factory=dict)
    """Those that have no whole request with us, the longest so first."""
    _sweeper: asyncio.TimerHandle | None = None

    def connection(self) -> "ServerConnection":
        return ServerConnection(self)

    def admit(self, connection: "ServerConnection") -> None:
        """Take in a new connection; where there are too many, the one that asked nothing for longest goes."""
        self.connections.add(connection)
        self.unasked[connection] = None
        if len(self.connections) > self.max_connections:
            next(iter(self.unasked)).make_room(connection)
        if self._sweeper is None:
            self._sweep_later(asyncio.get_running_loop())

    def close_connections(self) -> None:
        for connection in tuple(self.connections):
            connection.close()

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        now = loop.time()
        for connection in tuple(self.connections):
            connection.sweep(now)
        if self.connections:
            self._sweep_later(loop)


class ServerConnection(asyncio.Protocol):
    """One client's connection. The methods without an underscore are called by asyncio and by HttpServer."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._arriving = Arriving(Ends(self._asked, self._expected, server.max_body_bytes, server.room))
        self._waiting = Pipeline()
        self._unread = b""
        self._serving: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._reading = self._writable = True
        self._ending = self._continue = False
        self._discarded = 0
        self._since = self._loop.time()
        """When it came, began to send a request, or was answered; whichever was last."""
        self._stuck_since = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the face of asyncio.Transport without being one.
        self._transport = cast("asyncio.Transport", transport)
        self._server.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._ending = True
        self._server.connections.discard(self)
        self._server.unasked.pop(self, None)
        self._arriving.close()
        self._server.room.taken -= self._waiting.clear()
        self._unread = b""
        self._served()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._discard(len(data))
        elif self._unread:
            self._unread += data
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """A caller that closed its half is taken to have gone, as nginx and Envoy do: whoever gives up
        waiting closes, and that looks the same. What was asked is cancelled."""
        return False

    def pause_writing(self) -> None:
        self._writable = False
        self._stuck_since = self._loop.time()

    def resume_writing(self) -> None:
        self._writable = True
        self._next()

    # the server's side

    def sweep(self, now: float) -> None:
        """Close what is idle, refuse what arrives too slowly, cut off who does not read. `now` is the loop's
        time, seconds."""
        waited = now - self._since
        if not self._writable:
            if now - self._stuck_since > patience.ANSWER_SECONDS:
                self._transport.abort()
        elif self._task is not None:
            return
        elif self._ending or (waited > patience.ANSWER_SECONDS and self._transport.get_write_buffer_size()):
            if waited > patience.ANSWER_SECONDS:
                self._transport.abort()
        elif self._arriving.started:
            if patience.too_slow(waited, self._arriving.size):
                self._refuse(patience.refusal_of_slowness())
        elif waited > patience.IDLE_SECONDS:
            self._end()

    def make_room(self, newest: "ServerConnection") -> None:
        """Go, because too many are connected; who sends, or has just come to, is told why."""
        if self is newest or self._arriving.started:
            self._refuse(_TOO_MANY)
        if not self._ending or len(self._server.connections) > self._server.max_connections + RESERVE:
            self._end()

    def close(self) -> None:
        self._transport.close()

    # what arrives

    def _read(self, data: bytes) -> None:
        arriving = self._arriving
        began = arriving.started
        try:
            if len(data) <= pipelining.SLICE_BYTES:
                arriving.feed(data)
            else:
                self._read_slices(memoryview(data))
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if arriving.started and not began:
            self._since = self._loop.time()
        if self._reading and self._waiting.full:
            self._reading = False
            self._transport.pause_reading()

    def _read_slices(self, data: memoryview) -> None:
        for at in range(0, len(data), pipelining.SLICE_BYTES):
            if self._waiting.full:
                self._unread = bytes(data[at:])
                return
            self._arriving.feed(data[at : at + pipelining.SLICE_BYTES])

    def _read_on(self) -> None:
        """Take up reading where requests that wait stopped it."""
        if self._waiting.full or self._transport.is_closing():
            return
        data, self._unread = self._unread, b""
        if data:
            self._read(data)
        if not self._waiting.full and not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _asked(self, request: Request) -> None:
        self._continue = False
        self._waiting.add(request)
        if self._task is None:
            self._server.unasked.pop(self, None)
            self._next()

    def _expected(self) -> None:
        """What was asked before is answered before a caller is told to go on."""
        self._continue = True
        self._next()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer after what was asked before, then read no more requests."""
        if self._ending:
            return
        self._ending = True
        self._since = self._loop.time()
        self._server.on_refusal(refusal.reason)
        self._server.unasked.pop(self, None)
        self._arriving.close()
        self._unread = b""
        self._waiting.add(error_answer(refusal))
        self._next()

    # what is answered

    def _next(self) -> None:
        if self._task is not None or not self._writable:
            return
        if not self._waiting:
            if self._continue:
                self._continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        item = self._waiting.take()
        if isinstance(item, Answer):
            self._transport.write(framed(item, _CLOSE, item.body))
            self._linger()
            return
        self._serving = item
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
            self._served()
        self._finish(request, answer)

    def _served(self) -> None:
        """Give back what the request took; also where the task was cancelled before it ran."""
        if self._serving is not None:
            self._server.room.taken -= self._serving.held
            self._serving = None

    def _finish(self, request: Request, answer: Answer) -> None:
        stays = request.keep_alive and not self._server.draining
        body = b"" if request.method == "HEAD" else answer.body
        self._transport.write(framed(answer, b"" if stays else _CLOSE, body))
        if not stays:
            self._end()
            return
        if not self._reading:
            self._read_on()
        if self._task is None and not self._waiting and not self._ending:
            self._server.unasked[self] = None
        self._next()

    def _end(self) -> None:
        self._ending = True
        self._since = self._loop.time()
        self._server.unasked.pop(self, None)
        self._transport.close()

    def _linger(self) -> None:
        """Closing at once would reset the connection while the caller still sends, and lose the answer."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
        self._since = self._loop.time()
        self._loop.call_later(patience.LINGER_SECONDS, self._transport.close)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > pipelining.MAX_DISCARDED_BYTES:
            self._transport.abort()
