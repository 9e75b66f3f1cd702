"""Steps of a request as OpenTelemetry spans, and W3C trace context on the wire.

The one module that knows the names of the semantic conventions. Attributes hold names of ours, numbers and
reasons; no text, no path and no header as the caller wrote it.
"""

import asyncio
from collections.abc import Mapping
from contextvars import Token
from dataclasses import dataclass
from threading import Thread
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fastserve import __version__
from fastserve.errors import FastServeError
from fastserve.router.span_delivery import Delivery, Outbox, SpanCounts
from fastserve.router.tracing import Fact, Step, now_in

INFER_TEMPLATE = "/v2/models/{name}/infer"
LONGEST_VALUE = 256
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_context = TraceContextTextMapPropagator()


@dataclass(frozen=True)
class Origin:
    """Whose spans they are; `member` and `namespace` are empty where there are none. `scheme` is what the
    door speaks."""

    pool: str
    instance: str
    member: str = ""
    namespace: str = ""
    scheme: str = "http"

    def resource(self) -> Resource:
        facts = {
            "service.name": "fastserve-router",
            "service.version": __version__,
            "service.instance.id": self.instance,
            "k8s.namespace.name": self.namespace,
            "fastserve.pool": self.pool,
            "fastserve.submodel": self.member,
        }
        return Resource({name: value for name, value in facts.items() if value})


class Spans:
    """Traces requests until it is closed. `ratio` of those that come without a traceparent."""

    def __init__(self, origin: Origin, endpoint: str, ratio: float, counts: SpanCounts) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=origin.resource(),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attribute_length=LONGEST_VALUE),
        )
        self._provider.add_span_processor(Outbox(Delivery(endpoint, counts), counts))
        self._tracer = self._provider.get_tracer("fastserve.router", __version__)
        self._scheme = origin.scheme

    def request(self, method: str, route: str, headers: Mapping[bytes, bytes]) -> Step:
        """The step of a whole request. `route` is a pattern of ours, or empty where there is none."""
        facts = {"http.request.method": method, "url.scheme": self._scheme}
        if route:
            facts["http.route"] = route
        span = self._tracer.start_span(
            f"{method} {route}".rstrip(), context_of(headers), SpanKind.SERVER, facts
        )
        return _Recorded(self._tracer, span, SpanKind.SERVER) if span.is_recording() else _Unsampled(span)

    def close(self) -> Thread:
        """Send what is left. The thread ends once that is done, or after half a minute; nobody need wait."""
        thread = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        return thread


def context_of(headers: Mapping[bytes, bytes]) -> Context:
    """What a caller's traceparent and tracestate say; empty where they are missing or wrong."""
    parent = headers.get(b"traceparent")
    if parent is None:
        return Context()
    carrier = {"traceparent": parent.decode("latin-1")}
    if state := headers.get(b"tracestate"):
        carrier["tracestate"] = state.decode("latin-1")
    return _context.extract(carrier, Context())


def lines_of(context: SpanContext) -> bytes:
    """Header lines that hand a span on, each ended by CRLF."""
    trace, span = format_trace_id(context.trace_id), format_span_id(context.span_id)
    lines = f"traceparent: 00-{trace}-{span}-{context.trace_flags:02x}\r\n"
    state = context.trace_state.to_header()
    return (f"{lines}tracestate: {state}\r\n" if state else lines).encode("latin-1")


class _Entered(Step):
    """A step that is told to others."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token: Token[Step] | None = None
        context = span.get_span_context()
        self.lines = lines_of(context)
        self.trace_id = format_trace_id(context.trace_id)

    def __enter__(self) -> Self:
        self._token = now_in.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            now_in.reset(self._token)


class _Unsampled(_Entered):
    """Not recorded, but routers that are called are told so: they are not to begin a trace of their own."""

    def call(self, base: str, path: str, model: str) -> Step:  # noqa: ARG002  the face of all steps
        return _Handed(self.lines)


class _Handed(Step):
    """A call of a request that is not recorded."""

    def __init__(self, lines: bytes) -> None:
        self.lines = lines


class _Recorded(_Entered):
    recording = True

    def __init__(self, tracer: Tracer, span: Span, kind: SpanKind) -> None:
        super().__init__(span)
        self.triton_lines = self.lines
        self._tracer = tracer
        self._kind = kind

    def part(self, name: str) -> Step:
        return self._begin(name, SpanKind.INTERNAL, {})

    def call(self, base: str, path: str, model: str) -> Step:
        host, _, port = base.rpartition("//")[2].rpartition(":")
        facts: dict[str, Fact] = {
            "http.request.method": "POST",
            "server.address": host.strip("[]"),
            "server.port": int(port),
            "url.full": base + path,
            "url.template": INFER_TEMPLATE,
            "gen_ai.request.model": model,
        }
        return self._begin(f"POST {INFER_TEMPLATE}", SpanKind.CLIENT, facts)

    def answered(self, status: int, reason: str = "") -> None:
        self._span.set_attribute("http.response.status_code", status)
        if reason:
            self._span.set_attribute("fastserve.reason", reason)
        # Of a server, what the caller did wrong is no error; of a client it is.
        if status >= (_SERVER_ERROR if self._kind is SpanKind.SERVER else _CLIENT_ERROR):
            self._fail(reason or str(status))

    def note(self, name: str, value: Fact) -> None:
        self._span.set_attribute(name, value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, asyncio.CancelledError):
            # Nobody waits for it any more: the caller has gone, or another answer was first.
            self._span.set_attribute("fastserve.cancelled", True)
        elif error is not None:
            self._fail(error.reason if isinstance(error, FastServeError) else type(error).__name__)
        self._span.end()

    def _begin(self, name: str, kind: SpanKind, facts: Mapping[str, Fact]) -> Step:
        span = self._tracer.start_span(name, set_span_in_context(self._span, Context()), kind, facts)
        return _Recorded(self._tracer, span, kind)

    def _fail(self, reason: str) -> None:
        """By the reason alone: the sentence beside it may repeat a word of the caller's."""
        self._span.set_attribute("error.type", reason)
        self._span.set_status(StatusCode.ERROR)
