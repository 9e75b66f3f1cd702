"""Who carries out what was decided: ``/scale`` of the SubModel on a cluster, a file in local mode."""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from fastserve.api.identity import GROUP
from fastserve.api.objects import SUB_MODEL, Manifest, ObjectKey
from fastserve.api.scaling import ScalingDecision
from fastserve.cluster.events import Reporter, Telling, event_of
from fastserve.cluster.port import Scales
from fastserve.errors import ClusterError, LocalError

CONTROLLER = f"{GROUP}/router"
Check = Callable[[], None]
log = logging.getLogger(__name__)


class ScaleWriter(Protocol):
    """Writes how many replicas a sub-model is to have."""

    async def write(self, decision: ScalingDecision, before: int, check: Check) -> bool:
        """Whether it was not so already. Raises ClusterError or LocalError where it cannot; Conflict where
        somebody else was first. `before` is what it was decided on; `check` raises LeaseLost where nothing
        may be written any more."""
        ...


class FileWriter:
    """Local mode: {"replicas": {NAME: number}}, exchanged as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, decision: ScalingDecision, before: int, check: Check) -> bool:  # noqa: ARG002  the protocol's
        try:
            said = json.loads(self._path.read_bytes())["replicas"]
        except (OSError, ValueError, KeyError):
            said = {}
        if said.get(decision.member) == decision.replicas:
            return False
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps({"replicas": {**said, decision.member: decision.replicas}}))
            os.replace(fresh, self._path)  # noqa: PTH105  pathlib's moves follow no rule on what is there
        except OSError as error:
            raise LocalError(f"{self._path} cannot be written: {error.strerror}") from error
        return True


class ClusterWriter:
    """``/scale``, with the resourceVersion that was read, and an Event."""

    def __init__(self, cluster: Scales, namespace: str, instance: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._instance = instance

    async def write(self, decision: ScalingDecision, before: int, check: Check) -> bool:
        key = ObjectKey(self._namespace, decision.member)
        scale = await self._cluster.get_scale(SUB_MODEL, key)
        spec = scale.get("spec") or {}
        if spec.get("replicas", 0) == decision.replicas:
            return False
        check()  # the answer may have taken long
        await self._cluster.replace_scale(
            SUB_MODEL, key, {**scale, "spec": {**spec, "replicas": decision.replicas}}
        )
        try:
            event = _event(scale, decision, before, self._instance)
            await self._cluster.create_event(self._namespace, event)
        except ClusterError as error:  # what was done stands in the status as well
            log.info("an Event was not written", extra={"why": str(error)})
        return True


def _event(scale: Manifest, decision: ScalingDecision, before: int, instance: str) -> Manifest:
    """On the SubModel whose /scale this is."""
    regarding = {**scale, "apiVersion": SUB_MODEL.api_version, "kind": SUB_MODEL.name}
    reason = "ScaledUp" if decision.replicas > before else "ScaledDown"
    note = f"from {before} to {decision.replicas} replicas ({decision.reason}): {decision.message}"
    told = Telling("Normal", reason, note, "Scale")
    return event_of(regarding, told, Reporter(CONTROLLER, instance), datetime.now(UTC))
