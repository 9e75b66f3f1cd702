"""Traces through a pool: real routers, a fan-out of two, a collector that takes OTLP over HTTP."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastserve.api.modelpool import Tracing
from otlp_collector import CLIENT, INTERNAL, SERVER, Collector, ToldSpan, collecting
from wiring.router.router_world import FakeTriton, Node, World, free_port, world

BOTH = "what is my flight account balance on time"
INFER = "POST /v2/models/{name}/infer"
MEMBERS = ("banking", "travel")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01\r\n"
SPANS_OF_ONE = 8
"""At the door a server span, the choice and two calls; at each member a server span and a call to Triton."""


@asynccontextmanager
async def traced(folder: Path, ratio: str = "1", **table: object) -> AsyncIterator[tuple[World, Collector]]:
    async with collecting() as collector:
        tracing = {"endpoint": collector.url, "samplingRatio": ratio}
        async with world(folder, MEMBERS, tracing=tracing, **table) as pool:
            await pool.until(lambda: opened(pool))
            yield pool, collector


async def opened(pool: World) -> bool:
    return all(node.router._tracing.spans is not None for node in pool.nodes.values())


async def ask(node: Node, headers: str = "", text: str = BOTH) -> tuple[int, dict]:
    status, answer, _ = await node.post("/v1/predict", {"text": text}, headers)
    return status, answer


def only(spans: list[ToldSpan]) -> ToldSpan:
    (found,) = spans
    return found


async def figure(node: Node, line: str) -> float:
    text = (await node.admin.get("/metrics", 10.0)).body.decode()
    return next(float(one.split()[-1]) for one in text.splitlines() if one.startswith(line))


async def test_a_trace_leads_from_the_door_through_each_member_to_its_triton(tmp_path: Path) -> None:
    async with traced(tmp_path) as (pool, collector):
        status, answer = await ask(pool.door)
        await collector.until(SPANS_OF_ONE)

        assert status == 200
        assert {member["name"] for member in answer["members"]} == set(MEMBERS)
        assert len(collector.spans) == SPANS_OF_ONE
        assert collector.paths == {"/v1/traces"}
        door = only(collector.of("door", "POST /v1/predict"))
        assert (door.kind, door.parent, door.failed) == (SERVER, "", False)
        assert {one.trace for one in collector.spans} == {door.trace}
        choice = only(collector.of("door", "select"))
        assert (choice.kind, choice.parent) == (INTERNAL, door.id)
        calls = {one.facts["gen_ai.request.model"]: one for one in collector.of("door", INFER)}
        assert set(calls) == set(MEMBERS)
        for name, call in calls.items():
            assert (call.kind, call.parent) == (CLIENT, door.id)
            hop = only([one for one in collector.of(name) if one.kind == SERVER])
            assert (hop.name, hop.parent) == (INFER, call.id)
            triton = only([one for one in collector.of(name) if one.kind == CLIENT])
            assert (triton.name, triton.parent) == (INFER, hop.id)
            ((_, headers),) = pool.tritons[name].heard
            parent, _, flags = headers[b"traceparent"].decode().rpartition("-")
            assert parent == f"00-{door.trace}-{triton.id}"
            assert int(flags, 16) & 1  # the second bit says that the id was drawn at random


async def test_spans_carry_the_names_of_the_conventions(tmp_path: Path) -> None:
    async with traced(tmp_path) as (pool, collector):
        await ask(pool.door, "x-request-id: one\r\n")
        await collector.until(SPANS_OF_ONE)

        door = only(collector.of("door", "POST /v1/predict")).facts
        assert {"fastserve.confidence", "fastserve.coverage"} <= door.keys()
        assert (
            door.items()
            >= {
                "http.request.method": "POST",
                "http.route": "/v1/predict",
                "http.response.status_code": 200,
                "url.scheme": "http",
                "fastserve.request.id": "one",
                "fastserve.decision": "Selected",
            }.items()
        )
        assert set(door["fastserve.submodels"]) == set(MEMBERS)
        port = pool.nodes["banking"].settings.data_port
        path = "/v2/models/banking/infer"
        call = only([one for one in collector.of("door", INFER) if one.facts["server.port"] == port])
        assert call.facts == {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": port,
            "url.full": f"http://127.0.0.1:{port}{path}",
            "url.template": "/v2/models/{name}/infer",
            "gen_ai.request.model": "banking",
        }
        hop = only([one for one in collector.of("banking") if one.kind == SERVER]).facts
        assert (hop["fastserve.hop"], hop["fastserve.request.id"]) == (True, "one")
        assert (
            collector.resources["banking"].items()
            >= {
                "service.name": "fastserve-router",
                "service.instance.id": "banking",
                "fastserve.pool": "assistant",
                "fastserve.submodel": "banking",
            }.items()
        )


async def test_one_request_id_goes_from_the_door_to_every_triton(tmp_path: Path) -> None:
    async with world(tmp_path, MEMBERS) as pool:
        given = 'a"b\\c'
        status, answer = await ask(pool.door, f"x-request-id: {given}\r\n")
        assert (status, answer["requestId"]) == (200, given)
        assert [one for name in MEMBERS for one, _ in pool.tritons[name].heard] == [given, given]

        _, answer = await ask(pool.door)
        assert [pool.tritons[name].heard[-1][0] for name in MEMBERS] == [answer["requestId"]] * 2


async def test_the_callers_trace_goes_on_with_its_state(tmp_path: Path) -> None:
    async with traced(tmp_path, ratio="0") as (pool, collector):
        states = "tracestate: rojo=00f067,congo=t61\r\ntracestate: other=1\r\n"
        await ask(pool.door, SAMPLED + states)
        await collector.until(SPANS_OF_ONE)

        assert {one.trace for one in collector.spans} == {TRACE}
        assert only(collector.of("door", "POST /v1/predict")).parent == PARENT
        assert {one.state for one in collector.spans} == {"rojo=00f067,congo=t61,other=1"}
        ((_, headers),) = pool.tritons["travel"].heard
        assert headers[b"tracestate"] == b"rojo=00f067,congo=t61,other=1"


@pytest.mark.parametrize("parent", [f"traceparent: 00-{TRACE}-{PARENT}-00\r\n", ""])
async def test_what_is_not_sampled_is_recorded_nowhere(parent: str, tmp_path: Path) -> None:
    """Triton records whatever comes with a traceparent, also with one that says not to: it gets none."""
    ratio = "1" if parent else "0"
    async with traced(tmp_path, ratio) as (pool, collector):
        assert (await ask(pool.door, parent))[0] == 200
        assert all(b"traceparent" not in pool.tritons[name].heard[-1][1] for name in MEMBERS)
        await ask(pool.door, SAMPLED)
        await collector.until(SPANS_OF_ONE)

        assert {one.trace for one in collector.spans} == {TRACE}
        assert len(only_of(collector, PARENT)) == 1
        assert len(collector.spans) == SPANS_OF_ONE


def only_of(collector: Collector, parent: str) -> list[ToldSpan]:
    return [one for one in collector.spans if one.parent == parent]


async def test_members_are_told_not_to_trace_what_the_door_did_not_sample(tmp_path: Path) -> None:
    """By the ratio alone each router would draw anew, and half a trace would be recorded."""
    async with traced(tmp_path, "0") as (pool, collector):
        keepers = [pool.nodes[name].router._tracing for name in MEMBERS]
        former = [keeper.spans for keeper in keepers]
        for keeper in keepers:
            keeper.take(Tracing(endpoint=collector.url, sampling_ratio="1"))
        await pool.until(lambda: _is(not {one.spans for one in keepers} & {*former, None}))
        assert (await ask(pool.door))[0] == 200
        await ask(pool.door, SAMPLED)
        await collector.until(SPANS_OF_ONE)

        assert {one.trace for one in collector.spans} == {TRACE}


@pytest.mark.parametrize(
    "header",
    [
        "traceparent: nonsense\r\n",
        f"traceparent: 00-{'0' * 32}-{PARENT}-01\r\n",
        f"traceparent: 00-{TRACE}-{'0' * 16}-01\r\n",
        f"traceparent: ff-{TRACE}-{PARENT}-01\r\n",
        f"traceparent: 00-{TRACE.upper()}-{PARENT}-01\r\n",
        f"traceparent: 00-{TRACE}-{PARENT}-01-more\r\n",
        "traceparent: " + "9" * 2000 + "\r\n",
        "traceparent: \xff\xfe\r\n",
        SAMPLED + f"traceparent: 00-{TRACE[::-1]}-{PARENT}-01\r\n",
    ],
)
async def test_a_traceparent_that_is_wrong_is_as_none(header: str, tmp_path: Path) -> None:
    async with traced(tmp_path) as (pool, collector):
        reply = await pool.door.data.post(
            "/v1/predict", header.encode("latin-1"), json.dumps({"text": BOTH}).encode(), 10.0
        )
        await collector.until(SPANS_OF_ONE)

        assert reply.status == 200
        door = only(collector.of("door", "POST /v1/predict"))
        assert (door.parent, len(collector.spans)) == ("", SPANS_OF_ONE)
        assert door.trace not in (TRACE, TRACE[::-1])


async def test_no_text_is_in_any_span(tmp_path: Path) -> None:
    secret = "xyzzy"
    text = f"{BOTH} {secret}"
    async with traced(tmp_path) as (pool, collector):
        assert (await ask(pool.door, text=text))[0] == 200
        await ask(pool.door, text=f"{secret} nothing like it")
        await pool.door.post("/v2/models/banking/infer", {"inputs": [{"name": secret, "data": [text]}]})
        await pool.door.data.get(f"/v2/models/{secret}?{secret}", 10.0)
        await pool.door.data.get(f"/{secret}", 10.0)
        for triton in pool.tritons.values():
            triton.infer_error = (500, f"the text {text} is bad")
        await ask(pool.door, text=text)
        await collector.until(3 * SPANS_OF_ONE - 3)

        failed = {one.facts["error.type"] for one in collector.spans if one.failed}
        assert {"BackendFailed"} <= failed
        assert [body for body in collector.bodies if secret.encode() in body] == []


async def test_a_retry_is_a_step_of_its_own(tmp_path: Path) -> None:
    async with traced(tmp_path) as (pool, collector):
        pool.tritons["banking-2"] = FakeTriton(pool.tritons["banking"].labels)
        await pool.start("banking-2", "banking")
        pool.write_peers()
        await pool.all_ready()
        await pool.until(lambda: opened(pool))

        def retried() -> list[ToldSpan]:
            return collector.of("door", "retry")

        for name in ("banking", "banking-2"):
            pool.tritons[name].fail_next = 1
        for _ in range(20):
            await pool.door.post("/v1/predict", {"text": "balance", "subModel": "banking"})
        await pool.until(lambda: _is(bool(retried())))
        retry = retried()[0]
        assert retry.facts["fastserve.retry.because"] == "BackendFailed"
        again = only([one for one in collector.of("door", INFER) if one.parent == retry.id])
        assert again.kind == CLIENT


async def _is(fact: bool) -> bool:
    return fact


async def test_waiting_before_triton_is_a_step_of_its_own(tmp_path: Path) -> None:
    async with traced(tmp_path) as (pool, collector):
        node, triton = pool.nodes["banking"], pool.tritons["banking"]
        pool.document["members"][0]["maxConcurrency"] = 1
        pool.write_table()
        await pool.until(lambda: _is(node.router.pool.own.gate.limit == 1))
        triton.delay = 0.05
        await asyncio.gather(*(ask(node, text="what is my account balance") for _ in range(3)))
        await collector.until(11)  # a server span, a choice and a call to Triton each, and two waits

        first, second = collector.of("banking", "queue")
        assert {first.kind, second.kind} == {INTERNAL}
        doors = {one.id for one in collector.of("banking", "POST /v1/predict")}
        assert {first.parent, second.parent} < doors


async def test_a_collector_that_is_away_is_counted_and_nothing_else(tmp_path: Path) -> None:
    tracing = {"endpoint": f"http://127.0.0.1:{free_port()}", "samplingRatio": "1"}
    async with world(tmp_path, MEMBERS, tracing=tracing) as pool:
        await pool.until(lambda: opened(pool))
        assert [(await ask(pool.door))[0] for _ in range(20)] == [200] * 20

        async def told() -> bool:
            return await figure(pool.door, 'fastserve_trace_spans_total{outcome="failed"}') > 0

        await pool.until(told)
        assert (await ask(pool.door))[0] == 200


async def test_a_hanging_collector_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with traced(tmp_path) as (pool, collector):
        collector.hang = asyncio.Event()
        for _ in range(100):
            start = loop.time()
            assert (await ask(pool.door))[0] == 200
            assert loop.time() - start < 1.0
        await pool.until(lambda: _is(collector.asked > 0))
        start = loop.time()
        await pool.door.stop()
        assert loop.time() - start < 4.5  # two for the last spans, and what an end takes


async def test_tracing_comes_and_goes_with_the_route_table(tmp_path: Path) -> None:
    async with collecting() as collector, world(tmp_path, MEMBERS) as pool:
        keeper = pool.door.router._tracing
        await ask(pool.door, SAMPLED)
        assert keeper.spans is None
        assert b"traceparent" not in pool.tritons["travel"].heard[-1][1]

        pool.document["tracing"] = {"endpoint": f"{collector.url}/", "samplingRatio": "1"}
        pool.write_table()
        await pool.until(lambda: opened(pool))
        await ask(pool.door, SAMPLED)
        del pool.document["tracing"]
        pool.write_table()
        await pool.until(lambda: _is(keeper.spans is None))
        await collector.until(SPANS_OF_ONE)
        await ask(pool.door, SAMPLED)
        await asyncio.sleep(1.5)  # longer than spans wait for others

        assert len(collector.spans) == SPANS_OF_ONE
        assert await figure(pool.door, 'fastserve_trace_spans_total{outcome="delivered"}') == 4


async def test_a_collector_that_refuses_is_told_once_and_its_return_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with traced(tmp_path) as (pool, collector):
        collector.status = 400
        with caplog.at_level("INFO"):
            for _ in range(2):
                asked = collector.asked
                await ask(pool.door)
                await pool.until(lambda before=asked: _is(collector.asked > before + 2))
            collector.status = 200
            await ask(pool.door)
            await collector.until(SPANS_OF_ONE)
            # A span is here before its router has heard that it is.
            await pool.until(lambda: _is(_said(caplog)["spans are delivered again"] == 3))
        assert _said(caplog) == {"spans cannot be delivered": 3, "spans are delivered again": 3}


def _said(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """By each of three routers once."""
    return Counter(one.getMessage() for one in caplog.records if "span_delivery" in one.name)


def test_nothing_of_opentelemetry_is_loaded_where_no_pool_asks_for_it() -> None:
    program = (
        "import sys, fastserve.router.__main__;"
        "print(sorted(one for one in sys.modules if one.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
