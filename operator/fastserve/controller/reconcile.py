"""The circle: read everything, decide once, write once, then say what is so.

One look at one pool. It keeps nothing: the next look reads all it needs.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from fastserve.api.objects import Manifest, ObjectKey
from fastserve.cluster.leasing import LeaseLost
from fastserve.cluster.port import Cluster
from fastserve.controller.asking import RouterAsker
from fastserve.controller.gathering import gather, is_nothing
from fastserve.controller.reporting import Look, Reporter
from fastserve.controller.storing import prototypes_to_store
from fastserve.controller.workqueue import Outcome
from fastserve.errors import ClusterError, Foreign, Refused
from fastserve.planning.objects.decision import Apply, Delete, ObjectPlan, WriteFailure
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.objects.reading import read_observed
from fastserve.planning.objects.settings import ObjectSettings

LOG = logging.getLogger(__name__)
Clock = Callable[[], datetime]
REFUSED_AGAIN: Final = 30.0
"""Seconds: what the API server refuses may be the quota of now."""
EXAMPLES_AGAIN: Final = 60.0
"""Seconds: a ConfigMap of its user's is not watched (that would be every ConfigMap of the cluster)."""


@dataclass
class _Written:
    """What came of the writes: `failures` are for statuses to tell; `setback` is for the queue, which
    tries again soon."""

    failures: list[WriteFailure]
    setback: ClusterError | None = None


class Reconciler:
    """Brings what belongs to one pool to what its documents ask for, and reports what is so."""

    def __init__(self, cluster: Cluster, routers: RouterAsker, reporter: Reporter, clock: Clock) -> None:
        self._cluster = cluster
        self._routers = routers
        self._reporter = reporter
        self._clock = clock

    async def reconcile(self, key: ObjectKey, settings: ObjectSettings) -> Outcome:
        """Look once. Raises ClusterError where it has to be tried again soon; whatever can be written and
        told without that is."""
        raw = await gather(self._cluster, self._routers, key)
        if is_nothing(raw):
            return Outcome(gone=True)
        observed, now = read_observed(raw), self._clock()
        plan = plan_objects(observed, settings, now)
        written = await self._carry_out(observed, plan)
        await self._reporter.report(Look(observed, plan, tuple(written.failures), now))
        if written.setback is not None:
            raise written.setback
        return Outcome(_soonest(plan.recheck_after, _again(observed, written.failures)))

    async def _carry_out(self, observed: Observed, plan: ObjectPlan) -> _Written:
        """Apply, then delete. One object that cannot be written never stops another."""
        written = _Written([])
        stored = await prototypes_to_store(observed, plan, self._routers)
        writes: tuple[Apply | Delete, ...] = (*plan.apply, *stored, *plan.delete)
        for one in writes:
            try:
                await self._write(observed.key.namespace, one)
            except LeaseLost:
                raise
            except (Refused, Foreign) as error:
                written.failures.append(_failure(one, error))
            except ClusterError as error:
                written.setback = error
        return written

    async def _write(self, namespace: str, one: Apply | Delete) -> None:
        did = "delete" if isinstance(one, Delete) else "create" if one.create else "apply"
        place = {"namespace": namespace, "object": f"{one.kind.name}/{one.name}", "reason": did.capitalize()}
        LOG.info("%s: %s", did, one.because, extra=place)
        if isinstance(one, Delete):
            await self._cluster.delete(one.kind, ObjectKey(namespace, one.name), one.uid)
        else:
            mode: Literal["create", "update"] = "create" if one.create else "update"
            await self._cluster.apply(one.kind, _to_the_one_seen(one), mode)


def _to_the_one_seen(one: Apply) -> Manifest:
    """The manifest with the uid of the object that was seen: the server refuses it for any other."""
    if not one.uid:
        return one.manifest
    return {**one.manifest, "metadata": {**one.manifest["metadata"], "uid": one.uid}}


def _failure(one: Apply | Delete, error: ClusterError) -> WriteFailure:
    return WriteFailure(
        kind=one.kind,
        name=one.name,
        reason=error.reason,
        message=str(error),
        sub_model=one.sub_model if isinstance(one, Apply) else "",
        foreign=isinstance(error, Foreign),
    )


def _again(observed: Observed, failures: Sequence[WriteFailure]) -> float | None:
    """When to look again though no event will tell."""
    reads_maps = any(
        one.spec.examples_from and one.spec.examples_from.config_map for one in observed.sub_models.values()
    )
    return _soonest(REFUSED_AGAIN if failures else None, EXAMPLES_AGAIN if reads_maps else None)


def _soonest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)
