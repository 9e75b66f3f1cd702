"""A stand-in for an API server, for the faults that a real one cannot be made to show."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fastserve.cluster.kube import BeforeWrite, KubeCluster, connected
from fastserve.cluster.login import Login

OVER = web.AppKey("over", asyncio.Event)
"""Set when the test is over: what hangs until then must not outlive it."""
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def config_map(name: str, version: int, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)},
        "data": data,
    }


def listed(*items: dict[str, Any], version: int = 1, token: str = "") -> Reply:
    metadata = {"resourceVersion": str(version), "continue": token}
    return said(200, {"kind": "ConfigMapList", "metadata": metadata, "items": list(items)})


def said(status: int, body: Any, **headers: str) -> Reply:
    async def reply(_: web.Request) -> web.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=json.dumps(body), headers=names)

    return reply


def failed(status: int, message: str, **headers: str) -> Reply:
    return said(status, {"kind": "Status", "message": message, "code": status}, **headers)


def streamed(*lines: str | dict[str, Any], then: str = "end") -> Reply:
    """A watch's answer, which then ends, hangs or is reset."""

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for line in lines:
            text = line if isinstance(line, str) else json.dumps(line)
            await answer.write(text.encode() + b"\n")
        if then == "hang":
            await request.app[OVER].wait()
        if then == "reset" and request.transport is not None:
            request.transport.abort()
        return answer

    return reply


def reset() -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return reply


@dataclass
class StandIn:
    """Answers requests with `replies` in turn, the last one for ever; notes what it was asked."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return await reply(request)


async def nobody() -> str:
    return ""


@asynccontextmanager
async def standing_in(
    *replies: Reply, before_write: BeforeWrite | None = None
) -> AsyncIterator[tuple[StandIn, KubeCluster]]:
    """The stand-in with its replies, and a KubeCluster that speaks to it."""
    stand_in = StandIn(list(replies))
    application = web.Application()
    application[OVER] = asyncio.Event()
    application.router.add_route("*", "/{rest:.*}", stand_in.handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with connected(Login(f"http://127.0.0.1:{port}", None, nobody), before_write) as cluster:
            yield stand_in, cluster
    finally:
        application[OVER].set()
        await runner.cleanup()
