"""Pods of a pool as the status sees them: what Kubernetes says of each and what its router says of itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastserve.api.identity import REVISION_LABEL, ROLE_LABEL
from fastserve.api.meta import LoadProgress
from fastserve.api.objects import Manifest
from fastserve.api.state import ModelState, RouterState
from fastserve.planning.moments import Moment, seconds_between
from fastserve.planning.objects.affinity import gpu_words
from fastserve.planning.objects.naming import MEMBER, STANDBY
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import is_leaving, uid_of
from fastserve.planning.versions.words import Heard


@dataclass(frozen=True)
class PodView:
    """One pod. `state` is None where its router did not answer."""

    raw: Manifest
    state: RouterState | None

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def revision(self) -> str:
        return str((self.raw["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))

    @property
    def node(self) -> str:
        return str((self.raw.get("spec") or {}).get("nodeName", ""))

    @property
    def leaving(self) -> bool:
        return is_leaving(self.raw)

    def overdue_seconds(self, now: Moment) -> float:
        """How long ago its grace period was over; 0 before that, and for a pod that stays."""
        return seconds_between(str(self.raw["metadata"].get("deletionTimestamp", "")), now)

    @property
    def ended(self) -> bool:
        """Whether none of its containers will ever run again, as of an evicted pod."""
        return self._status.get("phase") in ("Failed", "Succeeded")

    @property
    def ready(self) -> bool:
        """Whether it takes requests: its router's readiness, as the kubelet saw it last."""
        return self.condition("Ready").get("status") == "True" and not self.leaving and not self.ended

    @property
    def model(self) -> ModelState | None:
        return self.state.model if self.state else None

    @property
    def load(self) -> LoadProgress | None:
        return self.model.load if self.model else None

    @property
    def unscheduled(self) -> str:
        """Why it has no node, in the scheduler's own words; where they are only that no node fits, with what
        its GPUs ask for."""
        condition = self.condition("PodScheduled")
        words = str(condition.get("message", "")) if condition.get("status") == "False" else ""
        asked = gpu_words(self.raw.get("spec") or {}) if "affinity" in words else ""
        return f"{words.rstrip('.')}. The GPU is to have {asked}" if asked else words

    @property
    def unplaced(self) -> bool:
        """Whether the scheduler tried to find a node for it, and there is none."""
        condition = self.condition("PodScheduled")
        tried = condition.get("status") == "False" and condition.get("reason") == "Unschedulable"
        return tried and not self.node

    @property
    def containers(self) -> tuple[Mapping[str, Any], ...]:
        """Statuses of its containers, the sidecar first."""
        status = self._status
        return (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))

    @property
    def _status(self) -> Mapping[str, Any]:
        return self.raw.get("status") or {}

    @property
    def reason(self) -> str:
        return str(self._status.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self._status.get("message", ""))

    def condition(self, kind: str) -> Mapping[str, Any]:
        """The pod's condition of that type; empty where it has none."""
        found = (one for one in self._status.get("conditions") or () if one.get("type") == kind)
        return next(found, {})

    @property
    def heard(self) -> Heard:
        """What the decision about versions has to know of it."""
        return Heard(uid_of(self.raw), self.state, self.ready)

    @property
    def active_versions(self) -> tuple[str, ...]:
        """Names of the versions that it answers with, the one with most of the requests first."""
        active = [one for one in self.heard.versions if self.ready and one.active]
        return tuple(one.version or one.digest[:12] for one in sorted(active, key=lambda one: -one.share))

    def answers_with(self, digest: str) -> bool:
        """Whether its router says that this version answers, and no other."""
        return self.state is not None and self.state.ready and self.heard.answers_wholly(digest)


def member_pods(observed: Observed, sub_model: str) -> tuple[PodView, ...]:
    """Pods of one sub-model by name, without those that ended."""
    return tuple(pod for pod in _views(observed, sub_model, MEMBER) if not pod.ended)


def ended_pods(observed: Observed, sub_model: str) -> tuple[PodView, ...]:
    """Pods of one sub-model that ended, as evicted ones do; Kubernetes keeps them for a while."""
    return tuple(pod for pod in _views(observed, sub_model, MEMBER) if pod.ended)


def standby_pods(observed: Observed) -> tuple[PodView, ...]:
    """The pool's stand-by routers by name."""
    return tuple(pod for pod in _views(observed, "", STANDBY) if not pod.ended)


def _views(observed: Observed, sub_model: str, role: str) -> Iterator[PodView]:
    for raw in observed.pods_by_sub_model.get(sub_model, ()):
        if (raw["metadata"].get("labels") or {}).get(ROLE_LABEL) == role:
            yield PodView(raw, observed.states.get(uid_of(raw)))
