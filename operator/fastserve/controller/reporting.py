"""Says what is so: statuses where they changed, and Events where a condition turned."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastserve.api.meta import Document
from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.objects import MODEL_POOL, SUB_MODEL, Kind, Manifest, ObjectKey
from fastserve.api.submodel import SubModelStatus
from fastserve.cluster.leasing import LeaseLost
from fastserve.cluster.port import Cluster
from fastserve.controller.announcing import Announcer
from fastserve.errors import ClusterError
from fastserve.planning.objects.decision import ObjectPlan, WriteFailure
from fastserve.planning.objects.happenings import AnyStatus
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.reading import read_status
from fastserve.planning.objects.status import pool_status, sub_model_status


@dataclass(frozen=True)
class Look:
    """One look at a pool: what was seen, decided, and not written; and when."""

    observed: Observed
    plan: ObjectPlan
    failures: tuple[WriteFailure, ...]
    now: datetime


@dataclass(frozen=True)
class _Report:
    """A status of one object, beside the one that it has."""

    kind: Kind
    manifest: Manifest
    before: AnyStatus | None
    after: AnyStatus


class Reporter:
    """Writes statuses and Events; `domain` is the cluster's."""

    def __init__(self, cluster: Cluster, announcer: Announcer, domain: str) -> None:
        self._cluster = cluster
        self._announcer = announcer
        self._domain = domain

    async def report(self, look: Look) -> None:
        """Write every status that is not the one that was read. One that cannot be written never stops
        another; the first ClusterError is raised at the end, so that the look is repeated."""
        setback: ClusterError | None = None
        for report in self._reports(look):
            try:
                await self._write(report)
            except LeaseLost:
                raise
            except ClusterError as error:
                setback = setback or error
        if setback is not None:
            raise setback

    def _reports(self, look: Look) -> Iterator[_Report]:
        observed = look.observed
        if observed.pool is not None or observed.pool_fault is not None:
            pool = observed.pool_manifest or {}
            before = read_status(pool, ModelPoolStatus)
            after = pool_status(observed, look.plan, look.failures, look.now, cluster_domain=self._domain)
            yield _Report(MODEL_POOL, pool, before, after)
        for name in sorted({**observed.sub_models, **observed.unreadable}):
            manifest = observed.sub_model_manifests[name]
            yield _Report(
                SUB_MODEL,
                manifest,
                read_status(manifest, SubModelStatus),
                sub_model_status(name, observed, look.plan, look.failures, look.now),
            )

    async def _write(self, report: _Report) -> None:
        if report.after == report.before:
            return
        metadata = report.manifest["metadata"]
        key = ObjectKey(metadata["namespace"], metadata["name"])
        await self._cluster.write_status(report.kind, key, _manifest(report))
        await self._announcer.announce(report.manifest, report.before, report.after)


def _manifest(report: _Report) -> Manifest:
    """What to apply on ``/status``. The uid keeps it from an object that came after under the same name."""
    metadata = report.manifest["metadata"]
    return {
        "apiVersion": report.kind.api_version,
        "kind": report.kind.name,
        "metadata": {key: metadata[key] for key in ("namespace", "name", "uid")},
        "status": said(report.after),
    }


def said(status: Document) -> dict[str, Any]:
    """A status as JSON; what is not known is left out."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
