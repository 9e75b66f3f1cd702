"""Counters and histograms in plain numbers, made into Prometheus' own when somebody asks for them.

prometheus_client takes a lock for every number, which costs more than what is counted. A router counts in its
event loop alone and needs none.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector


class Tally:
    """How often something happened."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.created = time.time()

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class Spread:
    """How values lie among `bounds`, which ascend; a value on a bound lies below it."""

    __slots__ = ("bounds", "counts", "created", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.created = time.time()

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tallies(Collector):
    """A counter with labels: one tally for each of their values, from when it is first asked for. The name is
    without ``_total``. Values come from small closed sets."""

    def __init__(self, name: str, about: str, labels: tuple[str, ...], into: CollectorRegistry) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._known: dict[tuple[str, ...], Tally] = {}
        into.register(self)

    def __call__(self, *values: str) -> Tally:
        tally = self._known.get(values)
        if tally is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}, not {len(values)}")
            tally = self._known[values] = Tally()
        return tally

    def collect(self) -> Iterator[Metric]:
        metric = Metric(self._name, self._about, "counter")
        for values, tally in self._known.items():
            labels = dict(zip(self._labels, values, strict=True))
            metric.add_sample(f"{self._name}_total", labels, tally.value)
            metric.add_sample(f"{self._name}_created", labels, tally.created)
        yield metric


class Spreads(Collector):
    """A histogram with at most one label: a spread for each of its values; without labels there is one."""

    def __init__(
        self, name: str, about: str, bounds: Sequence[float], into: CollectorRegistry, *, label: str = ""
    ) -> None:
        self._name, self._about, self._label = name, about, label
        self._bounds = tuple(bounds)
        self._known: dict[str, Spread] = {} if label else {"": Spread(self._bounds)}
        into.register(self)

    def __call__(self, value: str = "") -> Spread:
        spread = self._known.get(value)
        if spread is None:
            spread = self._known[value] = Spread(self._bounds)
        return spread

    def collect(self) -> Iterator[Metric]:
        metric = Metric(self._name, self._about, "histogram")
        for value, spread in self._known.items():
            self._add(metric, {self._label: value} if self._label else {}, spread)
        yield metric

    def _add(self, metric: Metric, labels: dict[str, str], spread: Spread) -> None:
        so_far = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), spread.counts, strict=True):
            so_far += count
            metric.add_sample(f"{self._name}_bucket", {**labels, "le": bound}, so_far)
        metric.add_sample(f"{self._name}_count", labels, so_far)
        metric.add_sample(f"{self._name}_sum", labels, spread.total)
        metric.add_sample(f"{self._name}_created", labels, spread.created)
