"""Puts a router's scaler together: who may hold the Lease, where load is read, where decisions go."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from fastserve.api.identity import scaling_lease_name
from fastserve.api.objects import ObjectKey
from fastserve.api.routes import RouteTable
from fastserve.api.scaling import LoadReport
from fastserve.cluster.leasing import Leadership, LeaseTimes
from fastserve.cluster.port import Scales
from fastserve.router.access import Access
from fastserve.router.pool import Pool
from fastserve.router.scaling.exporting import ScalingMetrics
from fastserve.router.scaling.polling import LoadSource, RouterSource
from fastserve.router.scaling.scaler import Scaler, ScalerParts
from fastserve.router.scaling.writing import ClusterWriter, FileWriter, ScaleWriter
from fastserve.router.settings import RouterSettings

LEASE_TIMES = LeaseTimes(duration=11, deadline=8.0, retry=1.5, call=3.0, renew=4.0)
"""The next holder decides within 17 seconds of the last one's end."""
Report = Callable[[bool], LoadReport]
"""This router's own report: of its whole history, or of the last rows."""


def scaler_of(
    settings: RouterSettings,
    pool: Pool,
    access: Access,
    registry: CollectorRegistry,
    *,
    report: Report,
    cluster: Scales | None,
) -> Scaler | None:
    """The scaler of a router; None where nothing could be written: beside a Triton in local mode."""

    def source_of(table: RouteTable) -> LoadSource:
        return _source_of(table, pool, access, report)

    if settings.cluster is None or cluster is None:
        if settings.scale_path is None:
            return None
        writer: ScaleWriter = FileWriter(Path(settings.scale_path))
        return Scaler(ScalerParts(pool, ScalingMetrics(registry), writer, source_of))
    namespace, candidacy = settings.cluster.namespace, Candidacy(settings, pool)
    key = ObjectKey(namespace, scaling_lease_name(settings.pool))
    leadership = Leadership(cluster, key, settings.instance, LEASE_TIMES, lambda: candidacy.is_second)
    return Scaler(
        ScalerParts(
            pool,
            ScalingMetrics(registry),
            ClusterWriter(cluster, namespace, settings.instance),
            source_of,
            leadership,
            candidacy.stands,
            candidacy.may_stay,
        )
    )


class Candidacy:
    """Stand-by routers hold the Lease: they are there as long as the pool is. Of the others, which may be
    scaled away, one takes it that nobody renews, and gives it back when a stand-by router is there."""

    def __init__(self, settings: RouterSettings, pool: Pool) -> None:
        self.is_second = settings.member is not None
        self._instance = settings.instance
        self._pool = pool

    def stands(self) -> bool:
        """Whether this router is one that looks whether it is needed."""
        own = self._pool.own
        if not self.is_second or own is None:
            return True
        ready = [one.instance for one in self._pool.peers.replicas.values() if one.ready]
        return own.ready and self._instance <= min(ready, default=self._instance)

    def may_stay(self) -> bool:
        """Whether nobody who goes first is there."""
        standby = (one.ready for one in self._pool.peers.listed if one.member is None)
        return not self.is_second or not any(standby)


def _source_of(table: RouteTable, pool: Pool, access: Access, report: Report) -> LoadSource:
    def token() -> str:
        return access.guard.token if access.guard is not None else ""

    prometheus = table.monitoring.prometheus
    if prometheus is None:
        return RouterSource(lambda: pool.peers.listed, report, token)
    # Its client is large, and most pools do without.
    from fastserve.router.scaling.prometheus import PrometheusSource  # noqa: PLC0415

    words = RouterSource(lambda: pool.peers.listed, report, token, rows=False)
    return PrometheusSource(prometheus.url, pool.name, words)
