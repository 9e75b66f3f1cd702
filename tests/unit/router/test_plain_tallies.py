"""Counting in plain numbers: what is told is what prometheus_client's own counters would tell."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from fastserve.router.metrics import FAST, Metrics
from fastserve.router.tallies import Spreads, Tallies

VALUES = st.one_of(st.sampled_from(FAST), st.floats(0, 10), st.just(0.0))
_CREATED = re.compile(rb"(_created(?:{[^}]*})?) [0-9.e+]+")


def told(registry: CollectorRegistry) -> tuple[bytes, bytes]:
    """Both text formats; when a counter was made is left out."""
    return (
        _CREATED.sub(rb"\1 then", generate_latest(registry)),
        _CREATED.sub(rb"\1 then", openmetrics(registry)),
    )


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\\', "ü"]), VALUES), max_size=30))
def test_a_spread_tells_what_a_histogram_tells(seen: list[tuple[str, float]]) -> None:
    plain, theirs = CollectorRegistry(), CollectorRegistry()
    labelled, one = (
        Spreads("x_seconds", "X.", FAST, plain, label="l"),
        Spreads("y_seconds", "Y.", FAST, plain),
    )
    histogram = Histogram("x_seconds", "X.", ("l",), buckets=FAST, registry=theirs)
    single = Histogram("y_seconds", "Y.", buckets=FAST, registry=theirs)

    for label, value in seen:
        labelled(label).observe(value)
        histogram.labels(label).observe(value)
        one().observe(value)
        single.observe(value)

    assert told(plain) == told(theirs)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 5)), max_size=30))
def test_tallies_tell_what_a_counter_tells(seen: list[tuple[str, str, int]]) -> None:
    plain, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies("x", "X.", ("l", "m"), plain)
    counter = Counter("x", "X.", ("l", "m"), registry=theirs)

    for first, second, amount in seen:
        tallies(first, second).inc(amount)
        counter.labels(first, second).inc(amount)

    assert told(plain) == told(theirs)


def test_a_tally_without_a_label_s_value_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="labels"):
        Tallies("x", "X.", ("l", "m"), CollectorRegistry())("one")


def test_names_and_types_of_a_router_s_metrics_are_those_that_are_documented() -> None:
    metrics = Metrics()
    metrics.requests("200", "").inc()
    metrics.selections("m", "Direct").inc()
    metrics.inference("m").observe(0.2)
    text = metrics.render().decode()

    for name in ("request", "queue", "selection", "inference"):
        assert f"# TYPE fastserve_{name}_duration_seconds histogram" in text
    assert 'fastserve_requests_total{code="200",reason=""} 1.0' in text
    assert 'fastserve_selection_total{decision="Direct",submodel="m"} 1.0' in text
    assert 'fastserve_inference_duration_seconds_bucket{le="0.25",submodel="m"} 1.0' in text
