"""The ordered end of a router, asked for by SIGTERM, or before it by whoever ends the Triton beside it.

serving ──begin──▶ draining: not ready, ``Connection: close``, requests are still answered
        ──quiet──▶ drained: the own Triton is asked nothing more; other sub-models are still reached
        ──Triton came back──▶ serving: it was only restarted
"""

import asyncio
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fastserve.router.answers import Answer, Refusal, error_answer, json_answer
from fastserve.router.protocol import HttpServer, Request
from fastserve.router.serving import OwnReplica

TICK_SECONDS = 0.05
MAX_BODY = 1024
log = logging.getLogger(__name__)


class Drained(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of POST /drain. `in_flight` is what was not answered in time."""

    drained: bool
    in_flight: int
    seconds: float


@dataclass(frozen=True)
class DrainTimes:
    """Seconds: how long it must be quiet, and the most that draining may take."""

    quiet: float
    most: float


class Drain:
    """Drains one data port; asked twice it drains once."""

    def __init__(self, server: HttpServer, own: OwnReplica | None, times: DrainTimes) -> None:
        self._server = server
        self._own = own
        self._times = times
        self._task: asyncio.Task[Drained] | None = None
        self._revoked = asyncio.Event()
        self._asked_at = 0.0

    async def run(self) -> Drained:
        """Say that no more should come, answer what does, return when it is quiet or time is up."""
        if self._task is None:
            self._revoked = asyncio.Event()
            self._asked_at = asyncio.get_running_loop().time()
            self._task = asyncio.create_task(self._drain(self._revoked))
        # Shielded: who asked may go, and the others still wait.
        return await asyncio.shield(self._task)

    def revoke(self, away_at: float) -> None:
        """A Triton that holds nothing is given something; it was away last at `away_at`. Only where that was
        after the drain was asked for is it the one that was to end, and is back: one that was not away since
        has lost a model, or made room for another, and is to end still."""
        if self._task is None or away_at < self._asked_at:
            return
        log.info("draining is over: Triton came back")
        self._revoked.set()
        self._task, self._server.draining = None, False
        if self._own is not None:
            self._own.closed = False

    async def _drain(self, revoked: asyncio.Event) -> Drained:
        server, loop = self._server, asyncio.get_running_loop()
        start = loop.time()
        server.draining = True
        log.info("draining", extra={"inFlight": server.in_flight})
        while loop.time() - start < self._times.most and not revoked.is_set():
            since = loop.time() - max(start, server.last_request)
            if server.in_flight == 0 and since >= self._times.quiet:
                break
            await asyncio.sleep(TICK_SECONDS)
        if self._own is not None and not revoked.is_set():
            self._own.closed = True
        left, seconds = server.in_flight, round(loop.time() - start, 3)
        log.info("drained", extra={"inFlight": left, "seconds": seconds})
        return Drained(left == 0, left, seconds)


class DrainDoor:
    """``POST /drain`` on a Unix socket that only the pod's own containers reach."""

    def __init__(self, path: Path, drain: Drain) -> None:
        self._path = path
        self._drain = drain
        self._server = HttpServer(self._handle, lambda _: MAX_BODY)
        self._listener: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; only the own uid may connect. Raises OSError where the folder cannot be written to."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(os.fspath(self._path))
        self._path.chmod(0o600)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(self._server.connection, sock=sock)

    def close(self) -> None:
        self._server.close_connections()
        if self._listener is not None:
            self._listener.close()
        self._path.unlink(missing_ok=True)

    async def _handle(self, request: Request) -> Answer:
        if request.path != "/drain":
            return error_answer(Refusal("PathUnknown", "this socket has POST /drain only"))
        if request.method != "POST":
            return error_answer(Refusal("MethodNotAllowed", "/drain takes POST"))
        return json_answer(await self._drain.run())
