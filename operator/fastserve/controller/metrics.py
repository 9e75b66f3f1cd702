"""The operator's own metrics, in Prometheus' words."""

from collections.abc import Callable, Iterator

import aiohttp
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily

from fastserve.api.objects import ObjectKey
from fastserve.cluster.session import Request
from fastserve.controller.vitals import Vitals

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """All metrics, in a registry of their own. `depth` tells the length of the work queue."""

    def __init__(self, vitals: Vitals, depth: Callable[[], int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time beside each counter helps nobody
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Moment(vitals, depth))
        self._looks = Counter(
            "fastserve_operator_reconcile",
            "Looks at a pool, by result: done, gone or failed.",
            ["result"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "fastserve_operator_reconcile_duration_seconds",
            "How long a look at a pool took.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._requests = Counter(
            "fastserve_operator_api_requests",
            "Requests to the API server, by verb, resource and status; code 0: no answer.",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        for result in ("done", "gone", "failed"):
            self._looks.labels(result)

    def looked(self, _: ObjectKey, result: str, seconds: float) -> None:
        """The work queue's word after each look."""
        self._looks.labels(result).inc()
        self._seconds.observe(seconds)

    def requested(self, request: Request, status: int, _: aiohttp.ClientResponse | None) -> None:
        """The API client's word after each request."""
        self._requests.labels(request.verb, request.resource, str(status)).inc()


class _Moment:
    """What is measured when it is asked for."""

    def __init__(self, vitals: Vitals, depth: Callable[[], int]) -> None:
        self._vitals = vitals
        self._depth = depth

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "fastserve_operator_queue_depth", "Pools that wait to be looked at.", value=self._depth()
        )
        yield GaugeMetricFamily(
            "fastserve_operator_leader",
            "1 for the replica that acts.",
            value=1.0 if self._vitals.is_leader else 0.0,
        )
        ages = GaugeMetricFamily(
            "fastserve_operator_watch_age_seconds",
            "Since a watch last heard anything from the API server.",
            labels=["kind"],
        )
        for resource, age in sorted(self._vitals.watch_ages().items()):
            ages.add_metric([resource], age)
        yield ages
