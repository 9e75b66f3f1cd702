"""Replicas that only tell: a load spread over those that run, row by row, and the admin ports that say so.

They stand for pods that kwok plays. Each says that it is ready, has its version, and got its share; queues
are those of one server for all replicas of a sub-model.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import msgspec

from fastserve.api.identity import ADMIN_PORT
from fastserve.api.meta import LoadProgress
from fastserve.api.routes import Target
from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, TOLD_SECONDS, WAIT_BOUNDS, LoadReport, LoadRow
from fastserve.api.state import ModelState, RouterState, VersionState
from fastserve.router.wire import Readiness

PACE, LIMIT, LOAD_SECONDS = 20.0, 8, 2.0
"""Requests per second that one replica answers, how many it lets in at once, and how long it loads."""
ALONE_SECONDS = 0.1
"""That a request takes which waits for nobody."""


@dataclass
class Replica:
    """One pod: what it told, row by row."""

    instance: str
    member: str
    rows: deque[LoadRow] = field(default_factory=lambda: deque(maxlen=2 * HISTORY_SECONDS // ROW_SECONDS))

    def report(self, seconds: float) -> LoadReport:
        now = time.time()
        return LoadReport(
            instance=self.instance,
            member=self.member,
            now=now,
            ready=True,
            load_seconds=LOAD_SECONDS,
            limit=LIMIT,
            pace=PACE,
            rows=tuple(row for row in self.rows if row.at + ROW_SECONDS > now - _told(row, seconds)),
        )


def _told(row: LoadRow, seconds: float) -> float:
    """As the meter of routers has it: what doors sent is told of late only."""
    return seconds if row.own else min(seconds, TOLD_SECONDS)


class Load:
    """One sub-model's load: `rate` requests per second, spread evenly over its replicas."""

    def __init__(self, member: str, rate: float) -> None:
        self.member = member
        self.rate = rate
        self.replicas: dict[str, Replica] = {}
        self._owed = self._waiting = 0.0

    def close(self, at: int) -> None:
        """The row from `at` is over."""
        self._owed += self.rate * ROW_SECONDS
        came, count = int(self._owed), len(self.replicas)
        self._owed -= came
        if not count:
            return
        wait = self._waiting / (count * PACE)
        inside = came + self._waiting
        answered = min(inside, count * PACE * ROW_SECONDS)
        self._waiting = min(inside - answered, float(count * LIMIT))  # the gate turns away what is above
        for number, name in enumerate(sorted(self.replicas)):
            share = came // count + (number < came % count)
            self.replicas[name].rows.extend(self._rows(at, name, share, round(answered / count), wait))

    def _rows(self, at: int, name: str, came: int, answered: int, wait: float) -> tuple[LoadRow, LoadRow]:
        """What its gate counted, and its door, through which all of that came."""
        bucket = next((i for i, bound in enumerate(WAIT_BOUNDS) if wait <= bound), len(WAIT_BOUNDS))
        waits = [0] * (len(WAIT_BOUNDS) + 1)
        waits[bucket] = answered
        own = LoadRow(
            at=at,
            member=self.member,
            own=True,
            arrivals=came,
            answered=answered,
            busy_seconds=answered * ALONE_SECONDS,
            waiting=round(self._waiting / len(self.replicas)),
            waits=tuple(waits),
        )
        return own, LoadRow(at=at, member=self.member, own=False, arrivals=came, sent={name: came})


async def close_rows(loads: Callable[[], list[Load]]) -> None:
    """Close each row when it is over, for ever; a row that comes late is never asked for before."""
    while True:
        now = time.time()
        await asyncio.sleep(ROW_SECONDS - now % ROW_SECONDS + 0.01)
        at = round(now // ROW_SECONDS) * ROW_SECONDS
        for load in loads():
            load.close(at)


class AdminPorts:
    """The admin ports of replicas, each at its pod's own address."""

    def __init__(self) -> None:
        self._servers: dict[str, tuple[asyncio.Server, set[asyncio.Transport]]] = {}

    async def open(self, address: str, pool: str, replica: Replica, target: Target) -> None:
        callers: set[asyncio.Transport] = set()

        def answer(path: str) -> bytes | None:
            return _answer(path, pool, replica, target)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Conversation(answer, callers), address, ADMIN_PORT)
        self._servers[address] = server, callers

    def close(self, address: str) -> None:
        server, callers = self._servers.pop(address)
        server.close()
        for one in callers:
            one.abort()

    def close_all(self) -> None:
        for address in list(self._servers):
            self.close(address)


def _answer(path: str, pool: str, replica: Replica, target: Target) -> bytes | None:
    if path == "/readyz":
        told = Readiness(True, f"{target.model_name} answers", replica.member, target.version, ("a", "b"))
        return msgspec.json.encode(told)
    if path in ("/v1/load", "/v1/load/history"):
        seconds = TOLD_SECONDS if path == "/v1/load" else HISTORY_SECONDS
        return replica.report(seconds).model_dump_json().encode()
    if path == "/v1/state":
        return _state(pool, replica, target).model_dump_json().encode()
    return None


def _state(pool: str, replica: Replica, target: Target) -> RouterState:
    loaded = LoadProgress(phase="Loaded")
    name, digest, version = target.model_name, target.digest, target.version
    return RouterState(
        pool=pool,
        instance=replica.instance,
        member=replica.member,
        ready=True,
        because=f"{name} answers",
        triton_live=True,
        model=ModelState(name=name, digest=digest, version=version, target_digest=digest, load=loaded),
        versions=(VersionState(digest=digest, version=version, phase="Loaded", active=True, share=1.0),),
    )


class _Conversation(asyncio.Protocol):
    """GET after GET on one connection."""

    def __init__(self, answer: Callable[[str], bytes | None], callers: set[asyncio.Transport]) -> None:
        self._answer = answer
        self._callers = callers
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._callers.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._callers.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            with suppress(IndexError):
                self._reply(self._answer(head.split(b" ", 2)[1].decode("latin-1")))

    def _reply(self, body: bytes | None) -> None:
        status = b"404 Not Found" if body is None else b"200 OK"
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body or b"")) + (body or b""))
