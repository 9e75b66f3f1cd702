"""Trace context as callers send it, and the queue of spans, without a network."""

from dataclasses import dataclass, field
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import get_current_span

from fastserve.router.arriving import Arriving, Ends
from fastserve.router.heads import named, question, unnamed
from fastserve.router.holding import Request, Room
from fastserve.router.oip import infer_body, read_answer
from fastserve.router.span_delivery import MOST_SENT, MOST_WAITING, Outbox
from fastserve.router.spans import context_of, lines_of
from fastserve.router.tallies import Tally
from fastserve.router.tracing import NOTHING, current

HEX = "0123456789abcdef"
PARENTS = st.builds(
    "00-{}-{}-{}".format,
    st.text(HEX, min_size=32, max_size=32),
    st.text(HEX, min_size=16, max_size=16),
    st.text(HEX, min_size=2, max_size=2),
)


@given(st.one_of(st.binary(max_size=80), PARENTS.map(str.encode)), st.binary(max_size=600))
def test_no_traceparent_and_no_tracestate_is_an_error(parent: bytes, state: bytes) -> None:
    found = get_current_span(context_of({b"traceparent": parent, b"tracestate": state})).get_span_context()

    if found.is_valid:
        lines = lines_of(found)
        assert lines.startswith(b"traceparent: " + parent.strip()[:53].replace(b" ", b""))
        assert lines.count(b"\r\n") == lines.count(b":") - lines.partition(b"tracestate: ")[2].count(b":")


@given(PARENTS)
def test_a_right_traceparent_is_handed_on_as_it_came(parent: str) -> None:
    trace, span = parent.split("-")[1:3]
    context = get_current_span(context_of({b"traceparent": parent.encode()})).get_span_context()

    assert context.is_valid == (set(trace) != {"0"} and set(span) != {"0"})
    if context.is_valid:
        assert lines_of(context) == f"traceparent: {parent}\r\n".encode()


def test_a_tracestate_without_a_traceparent_begins_nothing() -> None:
    assert context_of({b"tracestate": b"a=1"}) == Context()


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"traceparent: a\r\nTraceparent: b\r\n", {b"traceparent": b"a,b"}),
        (b"tracestate: a=1\r\ntracestate: b=2\r\n", {b"tracestate": b"a=1,b=2"}),
        (b"accept: a\r\naccept: b\r\n", {b"accept": b"b"}),
    ],
)
def test_trace_context_that_is_repeated_is_joined(lines: bytes, kept: dict[bytes, bytes]) -> None:
    came: list[Request] = []
    Arriving(Ends(came.append, lambda: None, lambda _: 100, Room())).feed(
        b"GET /v2 HTTP/1.1\r\nhost: a\r\n%b\r\n" % lines
    )

    assert {name: value for name, value in came[0].headers.items() if name != b"host"} == kept


def test_outside_a_trace_steps_cost_no_memory_and_tell_nobody() -> None:
    with current().part("x") as part, part.call("http://a:1", "/b", "c") as call:
        call.answered(500, "Internal")
        call.note("x", 1)

        assert part is call is current() is NOTHING
        assert (call.lines, call.triton_lines, call.trace_id, call.recording) == (b"", b"", "", False)


@dataclass
class Counts:
    delivered: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    dropped: Tally = field(default_factory=Tally)


@dataclass
class Hanging:
    """Takes no batch before it is let go."""

    go: Event = field(default_factory=Event)
    handed: int = 0
    spans: list[ReadableSpan] = field(default_factory=list)

    def export(self, spans: list[ReadableSpan]) -> SpanExportResult:
        self.handed += len(spans)
        self.go.wait(60)
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def test_what_finds_no_room_is_dropped_and_counted_and_nothing_else_is_lost() -> None:
    count, counts, collector = 2 * MOST_WAITING, Counts(), Hanging()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Outbox(collector, counts))
    tracer = provider.get_tracer("test")
    late = tracer.start_span("late")
    for at in range(count):
        tracer.start_span(str(at)).end()

    # One batch may have left the queue before it was full.
    assert count - MOST_WAITING - MOST_SENT <= counts.dropped.value <= count - MOST_WAITING
    collector.go.set()
    provider.shutdown()
    assert len(collector.spans) == count - counts.dropped.value
    assert [span.name for span in collector.spans[:MOST_WAITING]] == [str(at) for at in range(MOST_WAITING)]
    before = counts.dropped.value
    late.end()
    assert counts.dropped.value == before + 1


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128))
def test_the_id_of_a_request_is_told_to_triton_and_its_answer_is_still_remembered(request_id: str) -> None:
    _, head = question((1, 1), ("scores",), 5)
    lines, with_id = named(head, request_id)

    assert lines.endswith(b"%d\r\n" % len(with_id))
    assert unnamed(with_id, request_id) == head
    assert unnamed(head, request_id) == head
    _, body = infer_body((b"a",), (1, 1), ("scores",), request_id)
    assert body.startswith(with_id)


def test_an_answer_with_an_id_is_read_as_one_without() -> None:
    head = (
        b'"model_name":"m","outputs":[{"name":"scores","shape":[1,1],"parameters":{"binary_data_size":4}}]}'
    )
    plain = read_answer(b"{" + head + b"\0\0\x80\x3f", b"%d" % (len(head) + 1))
    told = read_answer(b'{"id":"one",' + head + b"\0\0\x80\x3f", b"%d" % (len(head) + 12), "one")

    assert (told.model, told.scores.tolist()) == (plain.model, plain.scores.tolist()) == ("m", [[1.0]])
