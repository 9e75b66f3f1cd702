"""Reading the load of all routers, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastserve.api.scaling import LoadReport
from fastserve.router.peers import Peer
from fastserve.router.scaling.polling import RouterSource
from fastserve.scaling.ledger import Ledger
from scaling_world import START, own_row, report

NOW = START + 100.5
SLOTS = range(START, START + 100, 2)


@dataclass
class Admin:
    """The admin port of one router: what it answers, and the heads of what it was asked."""

    said: Callable[[str], bytes]
    heads: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                body = self.said(head.split()[1])
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def admin(said: Callable[[str], bytes]) -> AsyncIterator[Admin]:
    one, tasks = Admin(said), set[asyncio.Task[None]]()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(one.serve(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        await asyncio.gather(*tasks)


def told(instance: str, slots: range, member: str | None = "sport") -> bytes:
    rows = [own_row(at, 3) for at in slots]
    return report(instance, rows, member=member, now=NOW).model_dump_json().encode()


def by_path(instance: str) -> Callable[[str], bytes]:
    return lambda path: told(instance, SLOTS if path.endswith("history") else SLOTS[-5:])


def peer(instance: str, port: int, *, ready: bool | None = True, member: str | None = "sport") -> Peer:
    return Peer(instance, "127.0.0.1:1", f"127.0.0.1:{port}", member, ready)


def own(whole: bool) -> LoadReport:
    return report("door", [], member=None, now=NOW)


def source(peers: list[Peer], token: str = "") -> RouterSource:
    return RouterSource(lambda: peers, own, lambda: token)


async def test_the_history_is_read_once_and_then_the_last_rows() -> None:
    async with admin(by_path("a")) as one:
        ledger, reader = Ledger(), source([peer("a", one.port)])
        for _ in range(3):
            await reader.look(ledger, lambda: NOW)
        reader.close()
        assert [head.split()[1] for head in one.heads] == ["/v1/load/history", "/v1/load", "/v1/load"]
        assert len(ledger.samples("sport", NOW)) == len(SLOTS)
        assert reader.problem == ""


async def test_a_router_shows_what_it_knows_of_the_keys() -> None:
    async with admin(by_path("a")) as one:
        reader = source([peer("a", one.port)], token="abc")
        await reader.look(Ledger(), lambda: NOW)
        reader.close()
        assert "x-fastserve-router: abc" in one.heads[0]


async def test_one_that_is_silent_or_talks_nonsense_stops_nobody() -> None:
    async with admin(by_path("a")) as good, admin(lambda _: b'{"instance": "b", "now": -1e999}') as bad:
        peers = [peer("a", good.port), peer("b", bad.port), peer("c", 1)]
        ledger, reader = Ledger(), source(peers)
        await reader.look(ledger, lambda: NOW)
        reader.close()
        assert ledger.unheard(NOW) == {"b", "c"}
        assert reader.problem == "2 of 4 routers do not tell their load"
        assert ledger.samples("sport", NOW)[-1].heard == 0.5


async def test_one_that_says_it_is_another_is_not_believed() -> None:
    async with admin(by_path("impostor")) as one:
        ledger, reader = Ledger(), source([peer("a", one.port)])
        await reader.look(ledger, lambda: NOW)
        reader.close()
        assert ledger.unheard(NOW) == {"a"}
        assert ledger.replicas("sport", NOW).ready == 0


async def test_who_is_not_ready_need_not_be_heard() -> None:
    ledger, reader = Ledger(), source([peer("a", 1, ready=False)])
    await reader.look(ledger, lambda: NOW)
    reader.close()
    assert ledger.expected == {"door"}
    assert reader.problem == ""


async def test_one_that_comes_back_at_another_address_is_asked_there() -> None:
    async with admin(by_path("a")) as old, admin(by_path("a")) as new:
        peers = [peer("a", old.port)]
        reader = source(peers)
        await reader.look(Ledger(), lambda: NOW)
        peers[0] = peer("a", new.port)
        await reader.look(Ledger(), lambda: NOW)
        reader.close()
        assert (len(old.heads), len(new.heads)) == (1, 1)
