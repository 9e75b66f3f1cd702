"""A collector of the tests: takes OTLP over HTTP as protobuf, as a real one does, and may hang or refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from fastserve.router.answers import Answer
from fastserve.router.protocol import HttpServer, Request

SERVER, CLIENT, INTERNAL = (
    trace_pb2.Span.SPAN_KIND_SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT,
    trace_pb2.Span.SPAN_KIND_INTERNAL,
)


def value_of(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    return getattr(value, kind)


@dataclass(frozen=True)
class ToldSpan:
    """A span as the collector got it; `origin` is the router's instance."""

    origin: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    state: str
    failed: bool
    facts: dict[str, object]


@dataclass
class Collector:
    """What was told, and how it behaves. `url` is what a pool names."""

    url: str = ""
    spans: list[ToldSpan] = field(default_factory=list)
    resources: dict[str, dict[str, object]] = field(default_factory=dict)
    """By the router's instance."""
    paths: set[str] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200
    hang: asyncio.Event | None = None
    asked: int = 0

    async def handle(self, request: Request) -> Answer:
        self.asked += 1
        if self.hang is not None:
            await self.hang.wait()
        if self.status != 200:
            return Answer(self.status, b"")
        assert request.headers[b"content-type"] == b"application/x-protobuf"
        self.paths.add(request.path)
        self.bodies.append(request.body)
        for group in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            self._take(group)
        return Answer(200, b"", content_type="application/x-protobuf")

    def _take(self, group: trace_pb2.ResourceSpans) -> None:
        resource = {one.key: value_of(one.value) for one in group.resource.attributes}
        origin = str(resource["service.instance.id"])
        self.resources[origin] = resource
        for span in (span for scope in group.scope_spans for span in scope.spans):
            facts = {one.key: value_of(one.value) for one in span.attributes}
            failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
            assert span.status.message == ""
            self.spans.append(
                ToldSpan(
                    origin,
                    span.name,
                    span.kind,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.trace_state,
                    failed,
                    facts,
                )
            )

    def of(self, origin: str, name: str = "") -> list[ToldSpan]:
        return [one for one in self.spans if one.origin == origin and (not name or one.name == name)]

    async def until(self, count: int, seconds: float = 10.0) -> None:
        """Wait for so many spans."""
        async with asyncio.timeout(seconds):
            while len(self.spans) < count:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    server = HttpServer(collector.handle, lambda _: 1 << 24)
    listener = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
    collector.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        if collector.hang is not None:
            collector.hang.set()
        server.close_connections()
        listener.close()
        await listener.wait_closed()
