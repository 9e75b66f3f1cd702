"""What a router counts: Prometheus metrics in a registry of its own, names ``fastserve_*``, base units."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fastserve.api.scaling import WAIT_BOUNDS
from fastserve.router.tallies import Spread, Spreads, Tallies, Tally

FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
SLOW = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True)
class SpanTallies:
    """Spans that a collector took, that none took, and that found no room in the queue."""

    delivered: Tally
    failed: Tally
    dropped: Tally

    @staticmethod
    def of(into: CollectorRegistry) -> "SpanTallies":
        spans = Tallies("fastserve_trace_spans", "Spans of traced requests.", ("outcome",), into)
        return SpanTallies(spans("delivered"), spans("failed"), spans("dropped"))


class Metrics:
    """All metrics of one router. What every request counts is counted in plain numbers (tallies.py), children
    with labels of all others are looked up once and kept."""

    def __init__(self) -> None:
        into = self.registry = CollectorRegistry()
        self.duration = _seconds("request_duration", "From a whole request to its answer.", into)
        self.queue = _seconds("queue_duration", "Wait before an inference began.", into, WAIT_BOUNDS)
        self.first_answer = _seconds("first_answer_duration", "From asking to the first answer.", into)
        self.selecting = _seconds("selection_duration", "From an encoded text to the choice.", into)
        about, name = "Inference in this router's own Triton, without the wait.", "inference_duration"
        self.inference = Spreads(f"fastserve_{name}_seconds", about, FAST, into, label="submodel")
        about = "Loading of a version until it answered."
        self.load = Histogram("fastserve_model_load_seconds", about, buckets=SLOW, registry=into)
        self._in_flight = Gauge("fastserve_inflight_requests", "Requests under way.", registry=into)
        about = "Whether a replica is ready."
        self._healthy = Gauge("fastserve_member_healthy", about, ("submodel",), registry=into)
        about = "Restarts of the engine's ranks after one died."
        self.restarts = Counter("fastserve_engine_restarts", about, registry=into)
        about, labels = "Requests at the data port.", ("code", "reason")
        self.requests = Tallies("fastserve_requests", about, labels, into)
        about, labels = "Choices, by sub-model.", ("submodel", "decision")
        self.selections = Tallies("fastserve_selection", about, labels, into)
        self.spans = SpanTallies.of(into)
        about, why = "Requests that were not let in to the own Triton.", ("submodel", "reason", "priority")
        sheds = Counter("fastserve_requests_shed", about, why, registry=into)
        about = "Requests that are let in to the own Triton at once."
        self._limit = Gauge("fastserve_concurrency_limit", about, ("submodel",), registry=into)
        about, labels = "Replicas that were left out for a while.", ("submodel", "reason")
        ejections = Counter("fastserve_ejections", about, labels, registry=into)
        about, labels = "Calls made once more, and those that the budget denied.", ("submodel", "outcome")
        retries = Counter("fastserve_retries", about, labels, registry=into)
        about = "Calls made twice because the first took long, and those that the budget denied."
        hedges = Counter("fastserve_hedges", about, labels, registry=into)
        about = "Tiny inferences that ask whether the own Triton answers."
        probes = Counter("fastserve_probes", about, labels, registry=into)
        about = "Restarts of the own Triton that this router asked for."
        triton_restarts = Counter("fastserve_triton_restarts", about, ("reason",), registry=into)
        about = "Connections at the data port: with a whole request, and without."
        self._connections = Gauge("fastserve_connections", about, ("state",), registry=into)
        about = "Requests that were refused before they were whole."
        self._refusals = Counter("fastserve_http_refusals", about, ("reason",), registry=into)
        about = "Time in a step of an exchange of versions."
        name = "fastserve_swap_phase_duration_seconds"
        phases = Histogram(name, about, ("phase",), buckets=SLOW, registry=into)
        about = "Exchanges of versions that ended."
        swaps = Counter("fastserve_swaps", about, ("outcome",), registry=into)
        self.swap_phase = lru_cache(maxsize=16)(phases.labels)
        self.swaps = lru_cache(maxsize=16)(swaps.labels)
        # Labels come from the route table and the table of reasons, so these stay small.
        self.ejections = lru_cache(maxsize=1024)(ejections.labels)
        self.retries = lru_cache(maxsize=1024)(retries.labels)
        self.hedges = lru_cache(maxsize=1024)(hedges.labels)
        self.triton_restarts = triton_restarts.labels
        self.probes = lru_cache(maxsize=64)(probes.labels)
        self.sheds = lru_cache(maxsize=256)(sheds.labels)

    def healthy(self, member: str, ready: bool) -> None:
        self._healthy.labels(member).set(1.0 if ready else 0.0)

    def count_limit(self, member: str, count: Callable[[], float]) -> None:
        """Where the limit of a sub-model is read, when somebody asks for it."""
        self._limit.labels(member).set_function(count)

    def count_in_flight(self, count: Callable[[], float]) -> None:
        """Where the number of requests at the data port is read, when somebody asks for it."""
        self._in_flight.set_function(count)

    def count_connections(self, state: str, count: Callable[[], float]) -> None:
        """Where the number of connections is read, when somebody asks for it."""
        self._connections.labels(state).set_function(count)

    def refused(self, reason: str) -> None:
        self._refusals.labels(reason).inc()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)


def _seconds(name: str, about: str, into: CollectorRegistry, bounds: tuple[float, ...] = FAST) -> Spread:
    return Spreads(f"fastserve_{name}_seconds", about, bounds, into)()
