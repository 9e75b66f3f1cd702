"""The meter's figures as Prometheus metrics, read when somebody asks for them. With those of all routers, a
Prometheus holds the rows of all meters."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.registry import Collector

from fastserve.router.scaling.meter import Meter


class LoadMetrics(Collector):
    """Of one router: its own place's figures, and its doors'."""

    def __init__(self, meter: Meter, pool: str, instance: str) -> None:
        self._meter = meter
        # Not `instance`: that is what Prometheus calls what it scrapes.
        self._who = {"pool": pool, "router": instance}

    def collect(self) -> Iterator[Metric]:
        yield self._info()
        yield from self._own()
        arrivals = Metric("fastserve_door_requests", "Requests at the doors, by sub-model.", "counter")
        held = Metric("fastserve_held_requests", "Requests that wait for a sub-model that sleeps.", "gauge")
        for member, door in self._meter.doors.items():
            arrivals.add_sample(
                "fastserve_door_requests_total", {"submodel": member}, door.past + door.arrivals
            )
            held.add_sample("fastserve_held_requests", {"submodel": member}, door.held)
        yield from (arrivals, held)

    def _info(self) -> Metric:
        info = Metric("fastserve_router_info", "The router that tells this; always 1.", "gauge")
        own = self._meter.own
        labels = {**self._who, "submodel": own.member if own is not None else ""}
        info.add_sample("fastserve_router_info", labels, 1.0)
        return info

    def _own(self) -> Iterator[Metric]:
        own = self._meter.own
        if own is None:
            return
        load, labels = own.load(), {"submodel": own.member}
        for name, about, value in (
            ("arrivals", "Requests that came to the own Triton, also those not let in.", load.arrivals),
            ("answered", "Requests that the own Triton answered.", load.answered),
            ("busy_seconds", "Inferences that ran in the own Triton, summed over time.", load.busy_seconds),
        ):
            counter = Metric(f"fastserve_member_{name}", about, "counter")
            counter.add_sample(f"fastserve_member_{name}_total", labels, value)
            yield counter
        for name, about, level in (
            ("waiting", "Requests that wait for a place in the own Triton.", load.waiting),
            ("pace", "Requests per second that the own Triton answers while some wait.", load.pace),
        ):
            gauge = Metric(f"fastserve_member_{name}", about, "gauge")
            gauge.add_sample(f"fastserve_member_{name}", labels, level)
            yield gauge
