"""HTTP to the API server: one pool of connections, the caller's identity on every request, and somebody who
is told of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from fastserve.cluster.login import Login

CONNECT_SECONDS: Final = 5.0
CONNECTIONS: Final = 64
NO_LIMIT: Final = 0
"""For watches: each holds its connection for as long as it lasts."""
LONGEST_LINE: Final = 1 << 22
"""Bytes of one event of a watch: an object has at most 1.5 MiB in etcd, and JSON is longer."""


@dataclass(frozen=True)
class Request:
    """One request: `verb` as RBAC names it, `resource` the plural, with ``/status`` where it is that."""

    verb: str
    resource: str


Begun = Callable[[Request], None]
Ended = Callable[[Request, int, aiohttp.ClientResponse | None], None]


@dataclass(frozen=True)
class Observer:
    """Who is told of requests: when one begins, and when its head is there or it failed (then with 0 for a
    status and no response). A watch goes on after that."""

    begun: Begun
    ended: Ended


def open_client(
    login: Login, observer: Observer | None = None, connections: int = CONNECTIONS
) -> aiohttp.ClientSession:
    """A client of the login's server with so many connections at most; to be made and closed in the event
    loop that uses it."""

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        header = await login.authorization()
        if header:
            request.headers["Authorization"] = header
        return await handler(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ssl=login.tls or True),
        middlewares=(authorize,),
        trace_configs=[_tracing(observer)] if observer else [],
        timeout=aiohttp.ClientTimeout(total=10, sock_connect=CONNECT_SECONDS),
        headers={"User-Agent": "fastserve"},
        read_bufsize=LONGEST_LINE,
    )


def _tracing(observer: Observer) -> aiohttp.TraceConfig:
    async def started(_: object, __: object, seen: aiohttp.TraceRequestStartParams) -> None:
        observer.begun(request_of(seen.method, str(seen.url.path), is_watch="watch" in seen.url.query))

    async def ended(_: object, __: object, seen: aiohttp.TraceRequestEndParams) -> None:
        request = request_of(seen.method, seen.url.path, is_watch="watch" in seen.url.query)
        observer.ended(request, seen.response.status, seen.response)

    async def failed(_: object, __: object, seen: aiohttp.TraceRequestExceptionParams) -> None:
        request = request_of(seen.method, seen.url.path, is_watch="watch" in seen.url.query)
        observer.ended(request, 0, None)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(started)
    config.on_request_end.append(ended)
    config.on_request_exception.append(failed)
    return config


def request_of(method: str, path: str, *, is_watch: bool) -> Request:
    """What RBAC calls a request: ``/apis/apps/v1/namespaces/a/deployments/b`` is ``deployments``."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    resource = "/".join(rest[:1] + rest[2:3]) or "discovery"
    if method != "GET":
        verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        return Request(verbs.get(method, method.lower()), resource)
    return Request("watch" if is_watch else "list" if len(rest) == 1 else "get", resource)
