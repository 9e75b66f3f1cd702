"""What is decided, as metrics: for people, and for whatever scales in External mode."""

from prometheus_client import CollectorRegistry, Gauge

from fastserve.api.scaling import ScalingDecision


class ScalingMetrics:
    """Series of the router that decides; others have none, so that a query's max() is that router's word."""

    def __init__(self, into: CollectorRegistry) -> None:
        about = "Replicas that a sub-model is to have, as the router that scales the pool decided."
        self._desired = Gauge("fastserve_desired_replicas", about, ("submodel",), registry=into)
        about = "Replicas that were to run when that was decided."
        self._current = Gauge("fastserve_current_replicas", about, ("submodel",), registry=into)
        about = "1 for the reason of the last decision."
        self._reason = Gauge("fastserve_scaling_reason", about, ("submodel", "reason"), registry=into)
        self._reasons: dict[str, str] = {}

    def decided(self, decision: ScalingDecision, before: int) -> None:
        """One decision, on `before` replicas."""
        name, old = decision.member, self._reasons.get(decision.member)
        self._desired.labels(name).set(decision.replicas)
        self._current.labels(name).set(before)
        if old != decision.reason:
            if old is not None:
                self._reason.remove(name, old)
            self._reason.labels(name, decision.reason).set(1)
            self._reasons[name] = decision.reason

    def keep(self, members: frozenset[str]) -> None:
        """Only these are decided on; nobody is where this router does not decide any more."""
        for name in [one for one in self._reasons if one not in members]:
            self._desired.remove(name)
            self._current.remove(name)
            self._reason.remove(name, self._reasons.pop(name))
