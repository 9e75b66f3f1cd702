"""HTTP/1.1 as a client: kept-alive connections to one address, one request on each at a time."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import httptools

from fastserve.errors import BackendLost, BackendTimeout, BackendUnavailable
from fastserve.router.certificates import PeerTls

CONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0
"""A kept connection older than this is not used again: the other side may be closing it just now."""


@dataclass(slots=True)
class Reply:
    """One answer. Header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class _ClientConnection(asyncio.Protocol):
    """One connection. At most one request is under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._reply: asyncio.Future[Reply] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self.usable = True
        self.answered = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the face of asyncio.Transport without being one.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail(BackendLost(f"the connection broke: {exc or 'closed by the other side'}"))

    def data_received(self, data: bytes) -> None:
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BackendUnavailable(f"the answer is not HTTP/1.1: {error}"))
            self.abort()

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.usable = False
            self._transport.close()
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            reply.set_result(Reply(self._parser.get_status_code(), self._headers, body))

    def send(self, data: bytes) -> asyncio.Future[Reply]:
        self.answered = False
        reply = self._reply = self._loop.create_future()
        if self.usable:
            self._transport.write(data)
        else:
            # It broke after it was made; that is told once.
            self._fail(BackendUnavailable("the connection broke before it was used"))
        return reply

    def expire(self) -> None:
        """The deadline: the answer that may still come must not be taken for the next one."""
        self._fail(BackendTimeout("no answer by the deadline"))
        self.abort()

    def break_off(self, why: str) -> None:
        self.answered = True  # as good as: it is not to be asked the same at once on a new connection
        self._fail(BackendLost(why))
        self.abort()

    def abort(self) -> None:
        self.usable = False
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            reply.set_exception(error)


class Upstream:
    """Calls to one address (``host:port``); opens connections as they are needed, keeps the idle ones. With
    `tls` by the certificate that is there when a connection is opened."""

    def __init__(self, address: str, tls: PeerTls | None = None) -> None:
        self.address = address
        self._tls = tls
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._idle: list[_ClientConnection] = []
        self._busy: set[_ClientConnection] = set()
        self._closed = False
        self._host_line = f"host: {address}\r\n".encode("latin-1")

    async def get(self, path: str, seconds: float, headers: bytes = b"") -> Reply:
        """As post, without a body."""
        head = b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path.encode(), self._host_line, headers)
        return await self._call(head, seconds)

    async def post(self, path: str, headers: bytes, body: bytes, seconds: float) -> Reply:
        """`headers` are whole lines, each ended by CRLF. Raises BackendUnavailable or BackendTimeout."""
        head = b"POST %b HTTP/1.1\r\n%bcontent-length: %d\r\n%b\r\n"
        return await self._call(head % (path.encode(), self._host_line, len(body), headers) + body, seconds)

    def close(self) -> None:
        """Keep no connection; calls under way end as they would."""
        self._closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def break_off(self, why: str) -> None:
        """End the calls under way with BackendLost: what is known to be dead is not waited for."""
        for connection in tuple(self._busy):
            connection.break_off(why)

    async def _call(self, data: bytes, seconds: float) -> Reply:
        if seconds <= 0:
            raise BackendTimeout("no time is left for the call")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        connection = self._take(loop.time())
        if connection is None:
            return await self._exchange(await self._connect(loop, deadline), data, deadline)
        try:
            return await self._exchange(connection, data, deadline)
        except BackendLost as lost:
            # A kept connection may have been closed before our bytes arrived: nothing was answered,
            # and an inference may be asked twice.
            if connection.answered:
                raise
            try:
                connection = await self._connect(loop, deadline)
            except BackendUnavailable as gone:
                # Or the bytes arrived and were the end of who listened.
                raise BackendLost(str(gone)) from lost
        return await self._exchange(connection, data, deadline)

    def _take(self, now: float) -> _ClientConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, deadline: float) -> _ClientConnection:
        seconds = min(CONNECT_SECONDS, deadline - loop.time())
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: _ClientConnection(loop), self._host, self._port, **self._secured()
                )
        except TimeoutError as error:
            kind = BackendTimeout if seconds < CONNECT_SECONDS else BackendUnavailable
            raise kind(f"{self.address} did not accept a connection in {seconds:.1f} s") from error
        except OSError as error:
            raise BackendUnavailable(f"{self.address} does not accept connections: {error}") from error
        return connection

    def _secured(self) -> dict[str, Any]:
        """What makes a new connection one with TLS. Raises BackendUnavailable without a certificate."""
        if self._tls is None:
            return {}
        material = self._tls.material
        if material is None:
            raise BackendUnavailable(f"{self.address} is not called without a certificate")
        return {"ssl": material.client, "server_hostname": material.name}

    async def _exchange(self, connection: _ClientConnection, data: bytes, deadline: float) -> Reply:
        loop = connection._loop
        reply = connection.send(data)
        timer = loop.call_at(deadline, connection.expire)
        self._busy.add(connection)
        try:
            answer = await reply
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            timer.cancel()
            self._busy.discard(connection)
        if self._closed:
            connection.abort()
        elif connection.usable:
            connection.idle_since = loop.time()
            self._idle.append(connection)
        return answer
