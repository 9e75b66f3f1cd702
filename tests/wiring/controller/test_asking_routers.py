"""Routers are asked, never waited for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fastserve.api.access import state_key
from fastserve.api.identity import POOL_LABEL
from fastserve.api.objects import Manifest
from fastserve.controller import asking
from fastserve.controller.asking import RouterAsker

STATE: dict[str, Any] = {"pool": "news", "instance": "uid-1", "ready": True, "because": "it answers"}


def pod(uid: str = "uid-1", phase: str = "Running", **metadata: str) -> Manifest:
    return {
        "metadata": {"name": uid, "namespace": "default", "uid": uid, **metadata},
        "status": {"phase": phase, "podIP": "127.0.0.1"},
    }


@asynccontextmanager
async def router(answer: Any) -> AsyncIterator[tuple[RouterAsker, list[str]]]:
    over, asked = asyncio.Event(), []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if answer == "hang":
            await over.wait()
        if isinstance(answer, dict):
            return web.json_response(answer)
        return web.Response(body=answer if isinstance(answer, bytes) else b"", status=200 if answer else 404)

    application = web.Application()
    application.router.add_route("GET", "/{rest:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
            yield RouterAsker(client, runner.addresses[0][1]), asked
    finally:
        over.set()
        await runner.cleanup()


async def test_a_router_tells_its_state() -> None:
    async with router(STATE) as (asker, asked):
        states = await asker.states([pod()])
    assert states["uid-1"].because == "it answers"
    assert asked == ["/v1/state"]


async def test_a_pool_is_shown_the_key_that_its_table_has_the_digest_of_and_no_other_one() -> None:
    shown = []

    async def handle(request: web.Request) -> web.Response:
        shown.append(request.headers["authorization"])
        return web.json_response(STATE)

    application = web.Application()
    application.router.add_get("/v1/state", handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
        asker = RouterAsker(client, runner.addresses[0][1], state_seed=b"seed")
        for pool in ("news", "mail"):
            one = pod()
            one["metadata"]["labels"] = {POOL_LABEL: pool}
            assert await asker.states([one])
    await runner.cleanup()
    keys = [line.removeprefix("Bearer ") for line in shown]
    assert keys == [state_key(b"seed", "default/news"), state_key(b"seed", "default/mail")]


@asynccontextmanager
async def silence(asker: RouterAsker, address: str) -> AsyncIterator[None]:
    """At `address` somebody takes connections and says nothing, at the port that `asker` asks."""
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, address, asker._port)
    try:
        yield
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def test_a_pool_of_silent_routers_is_not_asked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASK_ALL_SECONDS", 0.5)
    async with router("hang") as (asker, asked):
        assert await asker.states([pod(f"uid-{number}") for number in range(1000)]) == {}
    assert len(asked) <= asking.AT_ONCE_OF_ONE_POOL


async def test_routers_that_are_ready_are_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not reached in time are then the silent ones."""
    monkeypatch.setattr(asking, "AT_ONCE_OF_ONE_POOL", 1)
    monkeypatch.setattr(asking, "ASK_ALL_SECONDS", 0.5)
    pods = [pod(f"uid-{number}") for number in (3, 2, 1)]
    pods[2]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    for silent in pods[:2]:
        silent["status"]["podIP"] = "127.0.0.2"
    async with router(STATE) as (asker, _), silence(asker, "127.0.0.2"):
        assert list(await asker.states(pods)) == ["uid-1"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({**STATE, "instance": "uid-2"}, id="another pod's"),
        pytest.param({"pool": "news"}, id="half a state"),
        pytest.param(b"<html>", id="garbage"),
        pytest.param(b"x" * (2 << 20), id="two megabytes"),
        pytest.param(b"", id="404"),
    ],
)
async def test_nonsense_is_no_state(answer: Any) -> None:
    async with router(answer) as (asker, _):
        assert await asker.states([pod()]) == {}


async def test_who_hangs_costs_a_second_however_many_they_are() -> None:
    async with router("hang") as (asker, asked):
        began = time.monotonic()
        assert await asker.states([pod(f"uid-{number}") for number in range(16)]) == {}
        assert time.monotonic() - began < 3
    assert len(asked) == 16


async def test_pods_that_cannot_answer_are_not_asked() -> None:
    nowhere = pod()
    del nowhere["status"]["podIP"]
    silent = [nowhere, pod(phase="Failed"), pod(phase="Succeeded"), pod(deletionTimestamp="now")]
    async with router(STATE) as (asker, asked):
        assert await asker.states(silent) == {}
    assert asked == []


async def test_prototypes_are_fetched_whole_or_not_at_all() -> None:
    async with router(b"\x93NUMPY") as (asker, asked):
        assert await asker.prototypes(pod(), "abc") == b"\x93NUMPY"
    assert asked == ["/v1/prototypes/abc"]
    async with router(b"") as (asker, _):
        assert await asker.prototypes(pod(), "abc") is None
