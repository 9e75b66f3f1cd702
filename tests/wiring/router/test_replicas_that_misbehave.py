"""Replicas that are slow, fail half of their answers, or freeze: several real routers over fake Tritons."""

import asyncio
import re
import socket
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastserve.errors import BackendUnavailable
from fastserve.router import outliers
from fastserve.router.answers import Answer
from fastserve.router.caller import ANYONE
from fastserve.router.protocol import HttpServer, Request
from fastserve.router.replicas import MemberCall, PeerReplica
from wiring.router.router_world import World, member_document, world

BANKING = "transfer money to my account"
MOSTLY_BANKING = " ".join(["what is my account balance"] * 4 + ["is my flight on time"] * 3)


@asynccontextmanager
async def replicas(folder: Path, count: int, **table: object):
    """A pool of one sub-model with so many replicas: banking, banking-2, …"""
    async with world(folder, ["banking"], **table) as pool:
        for number in range(2, count + 1):
            await pool.start(f"banking-{number}", "banking")
        pool.write_peers()

        async def all_ready() -> bool:
            return sum(one.ready for one in pool.door.router.pool.peers.of("banking")) == count

        await pool.until(all_ready)
        yield pool


async def ask(pool: World, text: str = BANKING) -> int:
    return (await pool.door.post("/v1/predict", {"text": text}))[0]


async def ask_many(pool: World, count: int, at_once: int = 10) -> Counter[int]:
    statuses: Counter[int] = Counter()
    for _ in range(count // at_once):
        statuses.update(await asyncio.gather(*(ask(pool) for _ in range(at_once))))
    return statuses


async def figure(pool: World, pattern: str, node: str = "door") -> float:
    """Sum of the counters whose name and labels match."""
    text = (await pool.nodes[node].admin.get("/metrics", 5.0)).body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(pattern, line))


def asked(pool: World) -> dict[str, int]:
    return {name: triton.asked for name, triton in pool.tritons.items()}


async def test_one_that_fails_half_is_left_out_after_a_few_failures_and_comes_back_when_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outliers, "BASE_SECONDS", 0.5)
    async with replicas(tmp_path, 2) as pool:
        bad = pool.tritons["banking-2"]
        bad.fails_half = True
        before = sum(asked(pool).values())
        statuses = await ask_many(pool, 200)
        calls = sum(asked(pool).values()) - before

        assert await figure(pool, "fastserve_ejections_total") >= 1
        assert statuses[200] >= 190
        assert calls / 200 <= 1.2
        assert (await pool.door.state())["peers"][1]["health"] in ("Ejected", "Probing")

        bad.fails_half = False
        peer = pool.door.router.pool.peers.replicas["banking-2"]

        async def back() -> bool:
            assert await ask(pool) == 200
            return peer.conduct.ejected is None

        await pool.until(back)
        count = bad.asked
        await ask_many(pool, 100)
        assert bad.asked > count + 20


async def test_one_that_is_ten_times_slower_is_left_out_and_comes_back_when_it_is_as_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outliers, "BASE_SECONDS", 0.5)
    async with replicas(tmp_path, 3) as pool:
        for name, triton in pool.tritons.items():
            triton.delay = 0.2 if name == "banking-2" else 0.02
        slow = pool.tritons["banking-2"]
        assert await ask_many(pool, 100) == {200: 100}
        assert await figure(pool, 'fastserve_ejections_total{.*reason="Slow"') >= 1
        peer = pool.door.router.pool.peers.replicas["banking-2"]
        count = slow.asked
        assert await ask_many(pool, 30) == {200: 30}
        assert slow.asked <= count + 2

        slow.delay = 0.02

        async def back() -> bool:
            assert await ask(pool) == 200
            return peer.conduct.ejected is None

        await pool.until(back)


async def test_of_two_that_fail_half_at_least_one_is_always_asked(tmp_path: Path) -> None:
    async with replicas(tmp_path, 2) as pool:
        for triton in pool.tritons.values():
            triton.fails_half = True
        statuses = await ask_many(pool, 100)

        assert statuses[200] >= 30
        left_out = [one for one in pool.door.router.pool.peers.of("banking") if one.conduct.ejected]
        assert len(left_out) <= 1
        assert "not ready" not in (await pool.door.readyz())[1]["because"]


async def test_a_frozen_triton_loses_nothing_where_another_answers_and_is_known_within_two_seconds(
    tmp_path: Path,
) -> None:
    async with replicas(tmp_path, 2) as pool:
        await ask_many(pool, 40)
        frozen, node = pool.tritons["banking-2"], pool.nodes["banking-2"]
        loop = asyncio.get_running_loop()
        frozen.frozen, start = True, loop.time()
        waiting = [asyncio.create_task(ask(pool)) for _ in range(20)]

        async def known() -> bool:
            return (await node.readyz())[0] == 503

        await pool.until(known)
        assert loop.time() - start < 2.5  # two, and what a busy machine takes
        statuses = Counter(await asyncio.gather(*waiting))
        assert loop.time() - start < 3.5
        # In flight were as many as it had; the budget of twenty in a hundred allows for them.
        assert statuses == {200: 20}
        assert await figure(pool, 'fastserve_retries_total{outcome="answered"') >= 1

        frozen.frozen = False
        await pool.all_ready()
        assert await ask(pool) == 200


async def test_an_idle_frozen_triton_is_known_within_two_seconds_and_comes_back(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        triton, node = pool.tritons["banking"], pool.nodes["banking"]
        await asyncio.sleep(1.0)
        triton.frozen, start = True, asyncio.get_running_loop().time()

        async def known() -> bool:
            return (await node.readyz())[0] == 503

        await pool.until(known)
        assert asyncio.get_running_loop().time() - start < 2.5
        assert await figure(pool, 'fastserve_ejections_total{reason="Silent"', "banking") == 1
        triton.frozen = False
        await pool.all_ready()
        assert len(triton.loads) == 1


async def test_an_engine_that_freezes_under_traffic_is_given_up_and_loaded_anew(tmp_path: Path) -> None:
    """Triton goes on saying that it is live, and its model READY."""
    async with world(tmp_path, ["banking"]) as pool:
        triton, node = pool.tritons["banking"], pool.nodes["banking"]
        (name,) = triton.states
        for _ in range(10):
            await ask(pool)
        triton.delay = 60.0
        triton.sockets[name].close()
        path = next((tmp_path / "banking").glob("*.sock"))
        path.unlink()
        stopped = triton.sockets[name] = socket.socket(socket.AF_UNIX)
        stopped.bind(str(path))
        stopped.listen()
        start = asyncio.get_running_loop().time()

        status = await ask(pool)

        assert status == 503
        assert asyncio.get_running_loop().time() - start < 3.0
        triton.delay = 0.0
        await pool.all_ready()
        assert len(triton.loads) == 2
        assert node.router.pool.own.ready


async def test_what_most_of_an_answer_hangs_on_is_asked_once_more(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking", "travel"]) as pool:
        _, answer, _ = await pool.door.post("/v1/predict", {"text": MOSTLY_BANKING})
        weights = {one["name"]: one["weight"] for one in answer["members"]}
        top, other = sorted(weights, key=weights.__getitem__, reverse=True)
        assert weights[top] > 0.5
        pool.tritons[top].fail_next = pool.tritons[other].fail_next = 1
        _, answer, _ = await pool.door.post("/v1/predict", {"text": MOSTLY_BANKING})
        assert {one["name"]: one["status"] for one in answer["members"]} == {top: "answered", other: "failed"}

        pool.tritons[other].fail_next = 1
        _, answer, _ = await pool.door.post("/v1/predict", {"text": MOSTLY_BANKING})
        assert {one["name"]: one["status"] for one in answer["members"]} == {top: "answered", other: "failed"}
        assert await figure(pool, 'fastserve_retries_total{outcome="answered"') == 1


async def test_a_pool_without_retries_asks_nothing_twice(tmp_path: Path) -> None:
    resilience = {"retries": {"maxShare": "0"}}
    async with replicas(tmp_path, 2, resilience=resilience) as pool:
        pool.tritons["banking"].fail_next = pool.tritons["banking-2"].fail_next = 1
        statuses = [await ask(pool) for _ in range(12)]
        assert sorted(statuses)[-2:] == [503, 503]
        assert await figure(pool, 'fastserve_retries_total{outcome="denied"') == 2


async def test_a_slow_call_is_hedged_within_its_budget_where_the_pool_wants_it(tmp_path: Path) -> None:
    resilience = {"hedging": {"enabled": True, "maxShare": "0.1"}, "ejection": {"maxShare": "0"}}
    async with replicas(tmp_path, 2, resilience=resilience) as pool:
        await ask_many(pool, 100)
        before = sum(asked(pool).values())
        pool.tritons["banking-2"].delay = 0.5
        loop = asyncio.get_running_loop()
        seconds = []
        for _ in range(20):
            start = loop.time()
            assert await ask(pool) == 200
            seconds.append(loop.time() - start)

        assert await figure(pool, 'fastserve_hedges_total{outcome="won"') >= 3
        assert sorted(seconds)[9] < 0.4
        assert sum(asked(pool).values()) - before <= 20 + 0.1 * 120
        peers = pool.door.router.pool.peers.of("banking")
        assert [peer.in_flight for peer in peers] == [0, 0]


async def test_a_frozen_router_is_known_within_two_seconds_and_who_waits_for_it_is_told() -> None:
    frozen = asyncio.Event()

    async def answer(request: Request) -> Answer:
        if frozen.is_set() or request.method == "POST":
            await asyncio.sleep(60.0)
        return Answer(200, b'{"ready": true, "because": "m answers", "member": "m"}')

    server, loop = HttpServer(answer, lambda _: 1 << 20), asyncio.get_running_loop()
    listener = await loop.create_server(server.connection, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    peer = PeerReplica("one", "m", address, address)
    try:
        await peer.probe()
        assert peer.ready
        call = MemberCall("m", (b"text",), loop.time() + 30.0, "id", (), ANYONE)
        waiting = asyncio.create_task(peer.infer(call))
        await asyncio.sleep(0.05)
        frozen.set()
        start = loop.time()
        while peer.ready:
            if peer.probe_due(loop.time()):
                await peer.probe()
            await asyncio.sleep(0.05)
        assert loop.time() - start < 2.5
        with pytest.raises(BackendUnavailable, match="does not answer any more"):
            await waiting
        assert peer.standing == "Ejected"
    finally:
        peer.close()
        server.close_connections()
        listener.close()


async def test_a_text_that_stubs_die_of_is_asked_twice_in_all(tmp_path: Path) -> None:
    """Two sub-models with two replicas each: it is asked of both at once, and once more in all."""
    resilience = {"hedging": {"enabled": True, "maxShare": "0.1"}}
    async with world(tmp_path, ["banking", "travel"], resilience=resilience) as pool:
        for member in ("banking", "travel"):
            await pool.start(f"{member}-2", member)
        pool.write_peers()
        peers = pool.door.router.pool.peers

        async def all_ready() -> bool:
            return all(sum(one.ready for one in peers.of(name)) == 2 for name in ("banking", "travel"))

        await pool.until(all_ready)
        for triton in pool.tritons.values():
            triton.deadly = BANKING.encode()
        by_name = {"text": BANKING, "subModel": "banking"}
        status, answer, _ = await pool.door.post("/v1/predict", by_name)
        assert (status, answer["reason"]) == (503, "MemberLost")
        assert sum(triton.deaths for triton in pool.tritons.values()) == 2

        await pool.until(all_ready)
        for triton in pool.tritons.values():
            triton.deadly, triton.deaths = MOSTLY_BANKING.encode(), 0
        status, answer, _ = await pool.door.post("/v1/predict", {"text": MOSTLY_BANKING})
        assert status == 503
        assert sum(triton.deaths for triton in pool.tritons.values()) == 3


async def test_a_peer_with_another_version_is_not_judged_by_the_one_before(tmp_path: Path) -> None:
    async with replicas(tmp_path, 2) as pool:
        peer = pool.door.router.pool.peers.replicas["banking-2"]
        for _ in range(outliers.STREAK):
            peer.conduct.failed(asyncio.get_running_loop().time())
        peer.conduct.eject(outliers.Fault.FAILS, asyncio.get_running_loop().time(), None)
        pool.document["members"] = [member_document("banking", "two")]
        pool.write_table()

        async def exchanged() -> bool:
            return peer.version == "two"

        await pool.until(exchanged)
        assert peer.conduct.ejected is None
        assert peer.standing == "Healthy"
