"""Real routers under more than they can do, and who is served first then."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fastserve.router.oip import infer_body
from fastserve.router.upstream import Reply
from wiring.router.router_world import World, member_document, table_document

BANKING = {"text": "transfer money to my account", "subModel": "banking"}
SERVICE = 0.05
PEAK = 1.0 / SERVICE


@dataclass(frozen=True)
class Told:
    sent: float
    seconds: float
    reply: Reply
    who: str

    @property
    def status(self) -> int:
        return self.reply.status


async def one_slot(folder: Path, **table: object) -> World:
    """A door, and a sub-model whose Triton computes one inference at a time, in 50 ms."""
    pool = World(folder, table_document([member_document("banking", maxConcurrency=4)], **table))
    pool.write_table()
    await pool.start("door")
    await pool.start("banking", "banking")
    pool.write_peers()
    await pool.all_ready()
    triton = pool.tritons["banking"]
    triton.delay, triton.slots = SERVICE, asyncio.Semaphore(1)
    return pool


async def load(pool: World, rate: float, seconds: float, headers: dict[str, str] | None = None) -> list[Told]:
    """Open loop: one request each 1 / rate seconds at the door, the kinds of callers in turn."""
    loop, body, told = asyncio.get_running_loop(), msgspec.json.encode(BANKING), []
    kinds = list((headers or {"": ""}).items())

    async def one(who: str, lines: str) -> None:
        sent = loop.time()
        reply = await pool.door.data.post("/v1/predict", lines.encode(), body, 20.0)
        told.append(Told(sent, loop.time() - sent, reply, who))

    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(begin + number / rate - loop.time())
            group.create_task(one(*kinds[number % len(kinds)]))
    return told


async def test_ten_times_too_much_is_answered_or_told_at_once_and_over_with_the_load(
    tmp_path: Path,
) -> None:
    pool = await one_slot(tmp_path)
    try:
        told = await load(pool, 10.0 * PEAK, 3.0)
        statuses = Counter(one.status for one in told)
        assert set(statuses) == {200, 429}
        assert statuses[200] >= 0.6 * PEAK * 3.0
        assert statuses[429] >= 0.7 * len(told)
        shed = sorted(one.seconds for one in told if one.status == 429)
        answered = sorted(one.seconds for one in told if one.status == 200)
        assert shed[len(shed) // 2] < answered[len(answered) // 2]
        refused = next(one.reply for one in told if one.status == 429)
        assert json.loads(refused.body)["reason"] == "QueueFull"
        assert 1 <= int(refused.headers[b"retry-after"]) <= 30
        metrics = (await pool.nodes["banking"].admin.get("/metrics", 5.0)).body.decode()
        counted = [line for line in metrics.splitlines() if line.startswith("fastserve_requests_shed_total{")]
        assert sum(float(line.rpartition(" ")[2]) for line in counted) == statuses[429]
        assert 'fastserve_concurrency_limit{submodel="banking"}' in metrics

        assert {one.status for one in await load(pool, 0.5 * PEAK, 2.0)} == {200}
        gate = pool.nodes["banking"].router.pool.own.gate
        assert (gate.in_flight, gate.waiting) == (0, 0)
    finally:
        await pool.close()


async def test_interactive_ones_are_served_before_batch_and_batch_is_not_forgotten(
    tmp_path: Path,
) -> None:
    pool = await one_slot(tmp_path)
    try:
        headers = {"interactive": "", "batch": "x-fastserve-priority: batch\r\n"}
        told = await load(pool, 6.0 * PEAK, 4.0, headers)
        answered = Counter(one.who for one in told if one.status == 200)
        assert answered["interactive"] > 3 * answered["batch"] > 0
    finally:
        await pool.close()


async def test_a_tenant_that_asks_for_more_does_not_get_more_than_its_turns(tmp_path: Path) -> None:
    pool = await one_slot(tmp_path, tenants={"header": "X-Team"})
    try:
        # What a caller says of its tenant between routers is not heard: the greedy one stays one.
        kinds = {f"greedy-{n}": f"x-team: a\r\nx-fastserve-tenant: {n}\r\n" for n in range(11)}
        told = await load(pool, 6.0 * PEAK, 4.0, {**kinds, "modest": "x-team: b\r\n"})
        modest = [one.status for one in told if one.who == "modest"]
        greedy = [one.status for one in told if one.who != "modest"]
        assert modest.count(200) >= 0.8 * len(modest)
        assert greedy.count(429) >= 0.6 * len(greedy)
    finally:
        await pool.close()


async def test_a_priority_that_is_none_is_told_what_there_is(tmp_path: Path) -> None:
    pool = await one_slot(tmp_path)
    try:
        status, answer, _ = await pool.door.post("/v1/predict", BANKING, "x-fastserve-priority: urgent\r\n")
        assert (status, answer["reason"]) == (400, "OutOfRange")
        assert "'urgent' (allowed: interactive or batch)" in answer["error"]
    finally:
        await pool.close()


async def test_a_router_tells_another_one_how_long_it_let_a_call_wait(tmp_path: Path) -> None:
    pool = await one_slot(tmp_path)
    try:
        lines, body = infer_body((b"transfer money",), (1,), ("scores", "labels"))
        node = pool.nodes["banking"]

        async def call() -> int:
            headers = lines + b"x-fastserve-hop: 1\r\n"
            reply = await node.data.post("/v2/models/banking/infer", headers, body, 10.0)
            assert reply.status == 200
            return int(reply.headers[b"x-fastserve-queue-millis"])

        waits = sorted(await asyncio.gather(*(call() for _ in range(8))))
        assert waits[0] == 0
        assert waits[-1] >= 0.5 * 1000.0 * SERVICE
    finally:
        await pool.close()
