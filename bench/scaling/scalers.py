"""Ours, and those of others by their published algorithms, each with what its users tune as its arguments.

    Hpa       Kubernetes, pkg/controller/podautoscaler: replica_calculator.go, horizontal.go
    Kpa       Knative Serving, pkg/autoscaler/scaling/autoscaler.go
    Keda      KEDA, pkg/scaling/executor/scale_scaledobjects.go, and an Hpa
    Kubeai    KubeAI, internal/modelautoscaler/autoscaler.go, internal/modelclient/scale.go

What they measure reaches them without delay, which is kinder than it would be.
"""

from collections import deque
from collections.abc import Sequence
from math import ceil, floor

from fastserve.api.scaling import ROW_SECONDS
from fastserve.scaling.decide import decide
from fastserve.scaling.samples import Bounds, Standing
from scaling.simulate import Scaler, Second, View

TOLERANCE = 0.1


class Ours(Scaler):
    """fastserve.scaling.decide at the end of each slot, and when the first request waits for a sleeper."""

    period = ROW_SECONDS
    wakes = True

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def step(self, view: View) -> int:
        standing = Standing(
            replicas=view.replicas,
            ready=view.ready,
            load_seconds=view.load_seconds,
            limit=view.limit,
            pace=view.pace,
            held=float(view.held),
        )
        return decide(list(view.samples), standing, self._bounds, view.now).replicas


def _per_second(seconds: Sequence[Second], name: str) -> float:
    return sum(getattr(one, name) for one in seconds) / len(seconds) if seconds else 0.0


class Hpa(Scaler):
    """HorizontalPodAutoscaler, autoscaling/v2 with its defaults: every 15 s, 10 % tolerance, up by 100 % or 4
    pods in 15 s, down to the most of the last 300 s.

    The metric is `cpu`, as a share of what a replica requests, or an external one as an AverageValue:
    `waiting`, `in_flight` or `arrivals` per second.
    """

    period = 15

    def __init__(self, metric: str, target: float, stabilisation: float = 300.0) -> None:
        self._metric, self._target, self._stabilisation = metric, target, stabilisation
        self._wishes: deque[tuple[float, int]] = deque()
        self._ups: deque[tuple[float, int]] = deque()

    def step(self, view: View) -> int:
        now, current = view.now, view.replicas
        if not current:
            return 1  # It does not go to zero.
        wish = max(1, self._by_cpu(view) if self._metric == "cpu" else self._by_value(view))
        self._wishes.append((now, wish))
        while self._wishes[0][0] < now - self._stabilisation:
            self._wishes.popleft()
        if wish > current:
            added = sum(up for at, up in self._ups if at > now - self.period)
            before = current - added
            most = max(2 * before, before + 4)
            wish = max(current, min(wish, most))
            self._ups = deque([(now, wish - current)])
        elif wish < current:
            wish = min(current, max(one for _, one in self._wishes))
        return wish

    def _by_value(self, view: View) -> int:
        window = 60 if self._metric == "arrivals" else 15
        value = _per_second(view.last(window), self._metric)
        ratio = value / (self._target * view.replicas)
        if abs(ratio - 1.0) <= TOLERANCE:
            return view.replicas
        return ceil(value / self._target - 1e-9)

    def _by_cpu(self, view: View) -> int:
        """Pods that are not ready count as idle where that keeps from going too far up."""
        seconds = view.last(15)
        ready, current = view.ready, view.replicas
        if not ready:
            return current
        share = _per_second(seconds, "computing") / max(1.0, _per_second(seconds, "ready"))
        ratio = share / self._target
        unready = view.starting
        if not unready or ratio <= 1.0:
            return current if abs(ratio - 1.0) <= TOLERANCE else max(1, ceil(ratio * ready - 1e-9))
        spread = ratio * ready / (ready + unready)
        if spread < 1.0 or abs(spread - 1.0) <= TOLERANCE:
            return current
        return max(current, ceil(spread * (ready + unready) - 1e-9))


class Kpa(Scaler):
    """Knative's autoscaler: every 2 s, means over 60 s and, in panic, over 6 s; panic from twice of what the
    ready ones take; at most half of them go at once; the last one after the stable window and 30 s more."""

    period = 2
    wakes = True
    STABLE, PANIC, THRESHOLD, UP, DOWN, GRACE = 60, 6, 2.0, 1000.0, 2.0, 30.0

    def __init__(self, target: float) -> None:
        self._target = target
        self._panic_at: float | None = None
        self._panic_most = 0
        self._zero_since: float | None = None

    def step(self, view: View) -> int:
        now, ready = view.now, max(1, view.ready)
        stable = ceil(_per_second(view.last(self.STABLE), "in_flight") / self._target - 1e-9)
        panic = ceil(_per_second(view.last(self.PANIC), "in_flight") / self._target - 1e-9)
        low, high = floor(ready / self.DOWN), ceil(self.UP * ready)
        over = panic / ready >= self.THRESHOLD
        stable, panic = min(max(stable, low), high), min(max(panic, low), high)
        if over:
            self._panic_at = now
        elif self._panic_at is not None and self._panic_at + self.STABLE < now:
            self._panic_at, self._panic_most = None, 0
        if self._panic_at is not None:
            self._panic_most = max(self._panic_most, stable, panic)
            return self._panic_most
        return self._graced(now, stable)

    def _graced(self, now: float, wish: int) -> int:
        if wish:
            self._zero_since = None
            return wish
        if self._zero_since is None:
            self._zero_since = now
        return 0 if now - self._zero_since >= self.GRACE else 1


class Keda(Scaler):
    """A ScaledObject: from zero where the metric is there at a poll (30 s), to zero after 300 s without it,
    and between an HPA on the metric as an AverageValue."""

    period = 15
    POLL, COOLDOWN = 30.0, 300.0

    def __init__(self, metric: str, target: float, stabilisation: float = 300.0) -> None:
        self._hpa = Hpa(metric, target, stabilisation)
        self._metric = metric
        self._active_at = 0.0

    def step(self, view: View) -> int:
        now = view.now
        if now % self.POLL == 0 and _per_second(view.last(30), "in_flight") > 0.0:
            self._active_at = now
            if not view.replicas:
                return 1
        if view.replicas and now - self._active_at >= self.COOLDOWN:
            return 0
        return max(1, self._hpa.step(view)) if view.replicas else 0


class Kubeai(Scaler):
    """Every 10 s the moving average of requests in flight over `window` s by `target`; down only when wanted
    three times in a row (30 s); the first request wakes a sleeper."""

    period = 10
    wakes = True
    CONSECUTIVE = 3

    def __init__(self, target: float, window: int = 600) -> None:
        self._target = target
        self._seen: deque[int] = deque(maxlen=window // self.period)
        # Theirs begins with zeros, which a service that has run for a while does not see.
        self._downs = 0

    def step(self, view: View) -> int:
        if not view.ready:
            return view.replicas
        self._seen.append(view.in_flight)
        wish = ceil(sum(self._seen) / len(self._seen) / self._target - 1e-9)
        if wish >= view.replicas:
            self._downs = 0
            return wish
        self._downs += 1
        return wish if self._downs > self.CONSECUTIVE else view.replicas


class Clairvoyant(Scaler):
    """Knows what will come: in each slot as many as keep their share of use at most at `use`, asked for a
    load time ahead, and kept where they are needed again before another one would be there."""

    period = 1
    SLOT = 2.0

    def __init__(self, arrivals: Sequence[float], pace: float, use: float, load: float) -> None:
        slots = int(arrivals[-1] // self.SLOT) + 1 if arrivals else 0
        counts = [0] * slots
        for at in arrivals:
            counts[int(at // self.SLOT)] += 1
        self._needs = [ceil(one / (self.SLOT * pace * use)) for one in counts]
        self._ahead = ceil(load / self.SLOT) + 1

    def step(self, view: View) -> int:
        first = int(view.now // self.SLOT)
        return max(self._needs[first : first + self._ahead + 1], default=0)
