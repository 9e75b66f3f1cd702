"""A connection of a server without a socket."""

import asyncio

from fastserve.router.answers import Answer
from fastserve.router.protocol import HttpServer, Request

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na"


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.end = ""
        self.unsent = 0
        self.reading = True

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def is_closing(self) -> bool:
        return bool(self.end)

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Connected:
    """One connection of a server that echoes; `hold` keeps its answers back."""

    def __init__(self) -> None:
        self.hold: asyncio.Event | None = None
        self.refusals: list[str] = []
        self.server = HttpServer(self._echo, lambda _: 1 << 20, self.refusals.append)
        self.wire, self.line = Wire(), self.server.connection()
        self.line.connection_made(self.wire)
        self.start = asyncio.get_running_loop().time()

    async def _echo(self, request: Request) -> Answer:
        if self.hold is not None:
            await self.hold.wait()
        return Answer(200, request.body)

    def after(self, seconds: float) -> "Connected":
        self.line.sweep(self.start + seconds)
        return self
