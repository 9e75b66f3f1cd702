"""Load that a real Prometheus tells: it scrapes what a meter exposes, and the rows are those of the meter."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from fastserve.api.scaling import WAIT_BOUNDS, LoadReport, LoadRow
from fastserve.router.metrics import Metrics
from fastserve.router.peers import Peer
from fastserve.router.scaling.exposition import LoadMetrics
from fastserve.router.scaling.meter import GateLoad, Meter
from fastserve.router.scaling.polling import RouterSource
from fastserve.router.scaling.prometheus import PrometheusSource
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.samples import Sample
from prometheus_server import PrometheusServer, program, prometheus_server

pytestmark = [
    pytest.mark.skipif(program() is None, reason="there is no Prometheus"),
    pytest.mark.timeout(180),
]
POOL = "assistant"
IDLE = GateLoad(0, 0, 0.0, (0,) * (len(WAIT_BOUNDS) + 1), 0, 8, 20.0)


@dataclass
class Place:
    """A router's own place, as far as it is metered."""

    member: str = "sport"
    first_served: float = 0.0
    now: GateLoad = IDLE

    def load(self) -> GateLoad:
        return self.now


@dataclass
class Node:
    """What one router counts and tells."""

    name: str
    member: str | None = None
    own: Place | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.own = Place(self.member) if self.member else None
        self.meter = Meter(own=self.own)
        self.metrics.registry.register(LoadMetrics(self.meter, POOL, self.name))

    def send(self, to: "Node", count: int, waited: float = 0.002) -> None:
        """So many requests for sport go through this door, and wait so long."""
        load = self.meter.door("sport")
        now = to.own.now
        for _ in range(count):
            load.arrivals += 1
            to.metrics.queue.observe(waited)
        to.own.now = replace(
            now,
            arrivals=now.arrivals + count,
            answered=now.answered + count,
            busy_seconds=now.busy_seconds + count / 20,
            waiting=3,
        )

    def report(self, whole: bool = False) -> LoadReport:
        return self.meter.report(self.name, ready=True)


class Exposing(BaseHTTPRequestHandler):
    """Answers with the metrics of the node that its server is of."""

    nodes: ClassVar[dict[int, Node]] = {}

    def do_GET(self) -> None:
        body = self.nodes[self.server.server_address[1]].metrics.render()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is named there
        """Nothing is to be said of each scrape."""


@contextmanager
def exposed(node: Node) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Exposing) as server:
        Exposing.nodes[server.server_port] = node
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Books:
    """A source with its ledger; looks are timed."""

    source: PrometheusSource
    ledger: Ledger = field(default_factory=Ledger)
    longest: float = 0.0

    async def look(self) -> None:
        begun = time.monotonic()
        await self.source.look(self.ledger, time.time)
        self.ledger.forget(time.time())
        self.longest = max(self.longest, time.monotonic() - begun)

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.ledger.samples("sport", time.time())

    def rows(self, name: str) -> list[LoadRow]:
        slots = [one for books in self.ledger._books.values() for one in sorted(books._slots.items())]
        return [rows.own[name] for _, rows in slots if name in rows.own]

    async def until(self, fact, seconds: float = 30.0) -> None:
        """Look again and again."""
        end = time.monotonic() + seconds
        while True:
            await self.look()
            if fact():
                return
            assert time.monotonic() < end, (self.source.problem, self.samples[-5:])
            await asyncio.sleep(0.1)


@asynccontextmanager
async def books(url: str, reporter: Node) -> AsyncIterator[Books]:
    """Of a router that hears itself, and that another one is listed which does not answer."""
    listed = [Peer("sport-0", "127.0.0.1:1", "127.0.0.1:1", "sport")]
    words = RouterSource(lambda: listed, reporter.report, lambda: "", rows=False)
    source = PrometheusSource(url, POOL, words)
    try:
        yield Books(source)
    finally:
        source.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus scrapes each second here, and is asked as often."""
    monkeypatch.setattr("fastserve.router.scaling.prometheus.ASK_SECONDS", 0.5)


@pytest.fixture
def nodes() -> tuple[Node, Node]:
    return Node("door-0"), Node("sport-0", "sport")


@contextmanager
def scraped(folder: Path, *nodes: Node) -> Iterator[PrometheusServer]:
    with (
        exposed(nodes[0]) as one,
        exposed(nodes[1]) as two,
        prometheus_server(folder, [one, two]) as server,
    ):
        assert server is not None
        yield server


async def test_rows_are_what_was_sent(tmp_path: Path, often: None, nodes: tuple[Node, Node]) -> None:
    door, replica = nodes
    with scraped(tmp_path, door, replica) as server:
        async with books(server.url, door) as found:
            await found.until(lambda: found.samples and found.source.lag < 10)
            for _ in range(40):
                door.send(replica, 3)
                await found.look()
                await asyncio.sleep(0.1)
            await found.until(lambda: sum(row.arrivals for row in found.rows("sport-0")) >= 120)
            await found.until(lambda: found.samples[-1].arrivals_high == 0)

            rows = found.rows("sport-0")
            assert sum(row.arrivals for row in rows) == sum(row.answered for row in rows) == 120
            assert sum(row.busy_seconds for row in rows) == pytest.approx(6.0, abs=0.01)
            assert rows[-1].waiting == 3
            counts = [sum(one) for one in zip(*(row.waits for row in rows), strict=True)]
            assert counts == [120 if bound == 0.0025 else 0 for bound in (*WAIT_BOUNDS, None)]
            samples = found.samples
            assert (
                sum(one.arrivals_low for one in samples) == sum(one.arrivals_high for one in samples) == 120
            )
            assert samples[-1].heard == 1.0
            assert found.source.lag == pytest.approx(2.0, abs=0.2)
            assert found.source.problem == "1 of 2 routers do not tell their load"


async def test_a_prometheus_that_is_gone_is_told_and_tells_nothing_more(
    tmp_path: Path, often: None, nodes: tuple[Node, Node]
) -> None:
    door, replica = nodes
    with scraped(tmp_path, door, replica) as server:
        async with books(server.url, door) as found:
            await found.until(lambda: found.samples)
            server.process.kill()
            server.process.wait()
            await found.until(lambda: "is not reached" in found.source.problem)
            newest = found.samples[-1].at

            door.meter.door("sport").held = 4
            await asyncio.sleep(2.5)
            await found.look()
            assert found.samples[-1].at == newest
            assert found.ledger.held("sport", time.time()) == 4


async def test_who_waits_for_a_sleeper_is_heard_though_there_never_was_a_prometheus(
    often: None, nodes: tuple[Node, Node]
) -> None:
    door, _ = nodes
    door.meter.door("sport").held = 2
    async with books("http://127.0.0.1:1", door) as found:
        await found.until(lambda: "is not reached" in found.source.problem)
        assert found.ledger.held("sport", time.time()) == 2
        assert found.samples == ()


async def test_nobody_waits_for_a_prometheus_that_hangs(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch, nodes: tuple[Node, Node]
) -> None:
    monkeypatch.setattr("fastserve.router.scaling.prometheus.TIMEOUT_SECONDS", 2)
    with scraped(tmp_path, *nodes) as server:
        async with books(server.url, nodes[0]) as found:
            await found.until(lambda: found.samples)
            server.process.send_signal(signal.SIGSTOP)
            try:
                await found.until(lambda: "is not reached within 2 s (ReadTimeout)" in found.source.problem)
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert found.longest < 1.0
            newest = found.samples[-1].at
            await found.until(lambda: "is not reached" not in found.source.problem)
            await found.until(lambda: found.samples[-1].at > newest)


async def test_a_prometheus_that_scrapes_nobody_of_the_pool_is_told(
    tmp_path: Path, often: None, nodes: tuple[Node, Node]
) -> None:
    with prometheus_server(tmp_path, []) as server:
        assert server is not None
        async with books(server.url, nodes[0]) as found:
            await found.until(
                lambda: "let it scrape /metrics at the admin port of each" in found.source.problem
            )


async def test_a_clock_that_is_off_is_told_and_reckoned_with(
    tmp_path: Path, often: None, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scraped(tmp_path, *nodes) as server:
        async with books(server.url, nodes[0]) as found:
            behind = lambda: time.time() - 60  # noqa: E731
            async with asyncio.timeout(60.0):  # as long as others wait for the first scrapes, and longer
                while not found.ledger.samples("sport", behind()):
                    await found.source.look(found.ledger, behind)
                    await asyncio.sleep(0.1)
            (newest,) = found.ledger.samples("sport", behind())[-1:]
            assert 0 <= behind() - newest.at < 10
            assert "Prometheus' clock is more than 5 s ahead, and reckoned with" in found.source.problem


@pytest.mark.parametrize("answer", [b"hello", b"[]", b'{"data": {"result": [1]}}'])
async def test_what_is_no_prometheus_is_told(answer: bytes, often: None, nodes: tuple[Node, Node]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with books(f"http://127.0.0.1:{port}", nodes[0]) as found:
            await found.until(lambda: "does not answer as a Prometheus does" in found.source.problem)
