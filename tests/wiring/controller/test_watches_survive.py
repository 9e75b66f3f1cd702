"""kopf under our care, against an API server that breaks: whatever ends it, the watches go on."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from fastserve.api.objects import MODEL_POOL, SUB_MODEL, Kind, Manifest
from fastserve.cluster.login import Login
from fastserve.cluster.session import Observer
from fastserve.controller import watches as watches_module
from fastserve.controller.vitals import Vitals
from fastserve.controller.watches import Watches, WatchPlan
from fastserve.controller.wiring import Watching, watch
from wiring.cluster.api_stand_in import OVER

KINDS = (MODEL_POOL, SUB_MODEL)
NAMESPACE = Kind("v1", "Namespace", "namespaces")
"""kopf watches nothing on a server that does not know namespaces."""


class BreakingServer:
    """Serves the two kinds, one pool in a list; its watches do `fault` once each, then bring a change."""

    def __init__(self, fault: Callable[[web.Request], Any], pools: int = 1) -> None:
        self._fault = fault
        self._items = [_pool(f"listed-{number}", 1) for number in range(pools)]
        self._faults = len(KINDS)
        self.written: list[str] = []
        self.watched: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            self.written.append(f"{request.method} {request.path}")
        if request.path == "/apis":
            version = {"groupVersion": "fastserve.io/v1alpha1", "version": "v1alpha1"}
            group = {"name": "fastserve.io", "versions": [version], "preferredVersion": version}
            return web.json_response({"groups": [group]})
        if request.path == "/api":
            return web.json_response({"versions": ["v1"]})
        if request.path == "/api/v1":
            return web.json_response({"resources": [_resource(NAMESPACE)]})
        if request.path.endswith("/v1alpha1"):
            return web.json_response({"resources": [_resource(kind) for kind in KINDS]})
        if "watch" in request.query:
            return await self._watch(request)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self._items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watched.add(request.path)
        if self._faults > 0:
            self._faults -= 1
            faulty: web.StreamResponse = await self._fault(request)
            return faulty
        answer = web.StreamResponse()
        await answer.prepare(request)
        event = {"type": "MODIFIED", "object": _pool("changed", 2)}
        await answer.write(json.dumps(event).encode() + b"\n")
        await request.app[OVER].wait()
        return answer


def _resource(kind: Kind) -> dict[str, Any]:
    verbs = ["get", "list", "watch"]
    return {
        "name": kind.plural, "singularName": kind.name.lower(), "kind": kind.name, "namespaced": True,
        "verbs": verbs,
    }  # fmt: skip


def _pool(name: str, version: int) -> Manifest:
    metadata = {"name": name, "namespace": "default", "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}}


async def _line(request: web.Request, text: str) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(text.encode() + b"\n")
    return answer


def status(code: int, **headers: str) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"kind": "Status", "code": code}, status=code, headers=names)

    return answer


def line(text: str) -> Callable[[web.Request], Any]:
    return lambda request: _line(request, text)


class Always:
    async def serves(self, kind: Kind) -> bool:
        return True


@asynccontextmanager
async def serving(server: BreakingServer) -> AsyncIterator[str]:
    application = web.Application()
    application[OVER] = asyncio.Event()
    application.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        application[OVER].set()
        await runner.cleanup()


async def _nobody() -> str:
    return ""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(status(404), id="404"),
        pytest.param(status(401), id="401"),
        pytest.param(status(410), id="410"),
        pytest.param(status(429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), id="429 with a date"),
        pytest.param(status(503), id="503"),
        pytest.param(line("{broken"), id="garbage"),
        pytest.param(line('{"type": "ERROR", "object": {"code": 500}}'), id="error event"),
        pytest.param(line('{"type": "ERROR", "object": {"code": 410}}'), id="expired"),
    ],
)
async def test_a_change_after_the_fault_is_heard(
    fault: Callable[[web.Request], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "_spread", lambda: 0.05)
    home, heard = asyncio.get_running_loop(), asyncio.Event()

    def seen(_: Kind, manifest: Manifest, is_gone: bool) -> None:
        if manifest["metadata"]["name"] == "changed":
            home.call_soon_threadsafe(heard.set)

    server = BreakingServer(fault)
    async with serving(server) as url:
        quiet = Observer(lambda _: None, lambda *_: None)
        watching = Watching(KINDS, (), Login(url, None, _nobody), seen, quiet)
        plan = WatchPlan(lambda stop: watch(watching, stop), KINDS, KINDS)
        keeping = asyncio.create_task(Watches(Always(), plan, Vitals()).keep())
        try:
            async with asyncio.timeout(60):
                await heard.wait()
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
    assert server.written == [], "kopf writes nothing"


async def test_many_namespaces_are_all_watched() -> None:
    """Each watch holds a connection: an ordinary client has fewer than forty namespaces ask for, and those
    that came last would never have been watched."""
    namespaces = tuple(f"space-{number}" for number in range(40))
    server = BreakingServer(status(503))
    async with serving(server) as url:
        quiet = Observer(lambda _: None, lambda *_: None)
        watching = Watching(KINDS, namespaces, Login(url, None, _nobody), lambda *_: None, quiet)
        stop = asyncio.Event()
        running = asyncio.create_task(watch(watching, stop))
        try:
            async with asyncio.timeout(60):
                while len(server.watched) < len(namespaces) * len(KINDS):
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await running


async def test_an_end_among_many_objects_leaves_nothing_that_never_ran() -> None:
    """kopf starts a worker for each object; those that were not yet started are to end as well, or Python
    warns of each some time later, in the middle of something else."""
    server = BreakingServer(status(503), pools=300)
    stop = asyncio.Event()
    home = asyncio.get_running_loop()
    async with serving(server) as url:
        quiet = Observer(lambda _: None, lambda *_: None)
        login = Login(url, None, _nobody)
        watching = Watching(KINDS, (), login, lambda *_: home.call_soon_threadsafe(stop.set), quiet)
        async with asyncio.timeout(60):
            await watch(watching, stop)
    gc.collect()  # what it warns of fails this test
