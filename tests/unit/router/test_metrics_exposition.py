"""What /metrics of a router tells: every name, type, unit and label. Who renames one breaks dashboards."""

import re

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fastserve.router.metrics import Metrics
from fastserve.router.scaling.exposition import LoadMetrics
from fastserve.router.scaling.meter import GateLoad, Meter

SECONDS = {
    "fastserve_request_duration_seconds": set(),
    "fastserve_queue_duration_seconds": set(),
    "fastserve_selection_duration_seconds": set(),
    "fastserve_first_answer_duration_seconds": set(),
    "fastserve_inference_duration_seconds": {"submodel"},
    "fastserve_model_load_seconds": set(),
    "fastserve_swap_phase_duration_seconds": {"phase"},
}
COUNTS = {
    "fastserve_requests": {"code", "reason"},
    "fastserve_selection": {"submodel", "decision"},
    "fastserve_requests_shed": {"submodel", "reason", "priority"},
    "fastserve_ejections": {"submodel", "reason"},
    "fastserve_retries": {"submodel", "outcome"},
    "fastserve_hedges": {"submodel", "outcome"},
    "fastserve_probes": {"submodel", "outcome"},
    "fastserve_engine_restarts": set(),
    "fastserve_triton_restarts": {"reason"},
    "fastserve_http_refusals": {"reason"},
    "fastserve_swaps": {"outcome"},
    "fastserve_trace_spans": {"outcome"},
    "fastserve_member_arrivals": {"submodel"},
    "fastserve_member_answered": {"submodel"},
    "fastserve_member_busy_seconds": {"submodel"},
    "fastserve_door_requests": {"submodel"},
}
NOW = {
    "fastserve_inflight_requests": set(),
    "fastserve_member_healthy": {"submodel"},
    "fastserve_concurrency_limit": {"submodel"},
    "fastserve_connections": {"state"},
    "fastserve_member_waiting": {"submodel"},
    "fastserve_member_pace": {"submodel"},
    "fastserve_held_requests": {"submodel"},
    "fastserve_router_info": {"pool", "router", "submodel"},
}
KNOWN = {
    **{name: ("histogram", labels) for name, labels in SECONDS.items()},
    **{name: ("counter", labels) for name, labels in COUNTS.items()},
    **{name: ("gauge", labels) for name, labels in NOW.items()},
}


class Own:
    """A place that was asked once."""

    member, first_served = "m", 0.0

    def load(self) -> GateLoad:
        return GateLoad(1, 1, 0.5, (1,), waiting=0, limit=8, pace=2.0)


def used() -> Metrics:
    """Metrics of which each was counted once."""
    metrics = Metrics()
    for spread in (metrics.duration, metrics.queue, metrics.selecting, metrics.first_answer):
        spread.observe(0.01)
    metrics.inference("m").observe(0.01)
    metrics.load.observe(2.0)
    metrics.swap_phase("Loading").observe(2.0)
    metrics.requests("200", "").inc()
    metrics.selections("m", "Selected").inc()
    metrics.sheds("m", "Full", "batch").inc()
    for two in (metrics.ejections, metrics.retries, metrics.hedges, metrics.probes):
        two("m", "x").inc()
    metrics.restarts.inc()
    metrics.triton_restarts("TritonFrozen").inc()
    metrics.swaps("Promoted").inc()
    metrics.refused("BodyTooLarge")
    metrics.healthy("m", ready=True)
    metrics.count_limit("m", lambda: 1.0)
    metrics.count_in_flight(lambda: 1.0)
    metrics.count_connections("asked", lambda: 1.0)
    meter = Meter(own=Own())
    meter.door("m").arrivals += 1
    metrics.registry.register(LoadMetrics(meter, "pool", "me"))
    return metrics


def told(metrics: Metrics) -> dict[str, Metric]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {one.name: one for one in families if not one.name.endswith("_created")}


def test_the_metrics_are_these_and_no_others() -> None:
    found = told(used())
    labels = {name: {key for one in found[name].samples for key in one.labels} - {"le"} for name in found}

    assert {name: (one.type, labels[name]) for name, one in found.items()} == KNOWN


def test_every_time_is_in_seconds_and_no_name_has_another_unit() -> None:
    for name in KNOWN:
        assert name.endswith("_seconds") == (name in SECONDS or name == "fastserve_member_busy_seconds")
        assert not re.search("millis|_ms|minutes|_kb|percent|_total", name)


def test_every_metric_has_a_sentence_of_its_own() -> None:
    about = [one.documentation for one in told(used()).values()]

    assert all(text.endswith(".") and text[0].isupper() for text in about)
    assert len(set(about)) == len(about)


def test_histograms_have_few_buckets_that_ascend_and_end_at_infinity() -> None:
    for name in SECONDS:
        bounds = [one.labels["le"] for one in told(used())[name].samples if one.name.endswith("_bucket")]
        assert bounds[-1] == "+Inf"
        assert len(bounds) <= 20
        assert sorted(map(float, bounds)) == [float(one) for one in bounds]
