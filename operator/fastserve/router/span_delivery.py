"""Spans on their way to the collector: a bounded queue, a thread of its own, a count of what came of them.

Requests wait for none of it: what finds no room is dropped, and a collector that is away or hangs fills the
queue.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

MOST_WAITING = 2048
MOST_SENT = 512
"""Of spans, in one request to the collector."""
EVERY_MILLIS = 1000
SEND_SECONDS = 5.0
"""In which a collector has to take them; another try after a failure counts in."""
log = logging.getLogger(__name__)
_theirs = logging.getLogger("opentelemetry")


class Count(Protocol):
    """Counts spans."""

    def inc(self, amount: float = ...) -> None: ...


class SpanCounts(Protocol):
    """What comes of spans. Each is counted by one thread alone."""

    @property
    def delivered(self) -> Count: ...
    @property
    def failed(self) -> Count: ...
    @property
    def dropped(self) -> Count: ...


class Delivery(SpanExporter):
    """Sends batches to a collector. `handed` counts the spans that it was given."""

    def __init__(self, endpoint: str, counts: SpanCounts) -> None:
        self.handed = 0
        self._endpoint = endpoint
        self._counts = counts
        self._failing = False
        self._sender = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS)
        # It has a line for each try, and callers' headers that are wrong have one each; we tell changes.
        _theirs.setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.handed += len(spans)
        result = self._sender.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        (self._counts.failed if failed else self._counts.delivered).inc(len(spans))
        if failed != self._failing:
            self._failing = failed
            said = "spans cannot be delivered" if failed else "spans are delivered again"
            log.log(logging.WARNING if failed else logging.INFO, said, extra={"endpoint": self._endpoint})
        return result

    def shutdown(self) -> None:
        self._sender.shutdown()  # type: ignore[no-untyped-call]  # theirs


class Outbox(BatchSpanProcessor):
    """The SDK's own queue and thread, but what has no room is counted instead of pushing out the oldest."""

    def __init__(self, delivery: Delivery, counts: SpanCounts) -> None:
        super().__init__(delivery, MOST_WAITING, EVERY_MILLIS, MOST_SENT)
        self._delivery = delivery
        self._counts = counts
        self._taken = 0
        self._closed = False

    def on_end(self, span: ReadableSpan) -> None:
        # Two counts with one writer each: no lock between the requests and the sending thread.
        if self._closed or self._taken - self._delivery.handed >= MOST_WAITING:
            self._counts.dropped.inc()
            return
        self._taken += 1
        super().on_end(span)

    def shutdown(self) -> None:
        self._closed = True
        super().shutdown()  # type: ignore[no-untyped-call]  # theirs
