"""The stand-by routers of a pool: whether they have the route table that is wanted, and take requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.objects import CONFIG_MAP
from fastserve.planning.objects.children import deployments_of
from fastserve.planning.objects.conditions import holds, listed, with_pod
from fastserve.planning.objects.decision import ObjectPlan, WriteFailure
from fastserve.planning.objects.failures import Trouble, deployment_trouble, pod_troubles
from fastserve.planning.objects.judging import write_troubles
from fastserve.planning.objects.naming import routes_of_pool
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import uid_of
from fastserve.planning.objects.pod_views import PodView, standby_pods
from fastserve.planning.objects.reading import read_status


@dataclass(frozen=True)
class Door:
    """`wanted` stand-by routers; `pods` of any revision, `current` of the wanted one, `having_table` those
    of them that have the wanted table and the prototypes of all its members."""

    wanted: int
    pods: tuple[PodView, ...]
    current: tuple[PodView, ...]
    having_table: tuple[PodView, ...]
    troubles: tuple[Trouble, ...]

    @property
    def informed(self) -> bool:
        """Whether as many as wanted have the table. They need not be ready: that there is no sub-model
        which answers is not their fault."""
        return 0 < self.wanted <= len(self.having_table)

    @property
    def open(self) -> bool:
        """Whether as many as wanted have the table and take requests."""
        return 0 < self.wanted <= sum(pod.ready for pod in self.having_table)

    @property
    def trouble(self) -> Trouble | None:
        return next((one for one in self.troubles if not one.past), None)


def door_of(observed: Observed, plan: ObjectPlan, refused: Sequence[WriteFailure] = ()) -> Door:
    """The door; `refused` are writes of the pool's own objects that the API server did not take."""
    pods = tuple(pod for pod in standby_pods(observed) if not pod.leaving)
    current = tuple(pod for pod in pods if pod.revision == plan.standby_revision)
    live = deployments_of(observed, uid_of(observed.pool_manifest)).get(plan.standby_revision)
    found = [one for pod in current for one in pod_troubles(pod)]
    found += deployment_trouble(live) if live else ()
    spec = observed.pool.spec if observed.pool else None
    return Door(
        wanted=spec.router.standby_replicas if spec and not spec.suspend else 0,
        pods=pods,
        current=current,
        having_table=tuple(pod for pod in current if _has_table(pod, observed, plan)),
        troubles=tuple(sorted([*found, *write_troubles(refused)])),
    )


def _has_table(pod: PodView, observed: Observed, plan: ObjectPlan) -> bool:
    if pod.state is not None:
        return plan.is_read_by(pod.state) and not _unselectable(pod, plan)
    # It was not heard this once. That it had this very table was heard before, if nothing was written since.
    before = read_status(observed.pool_manifest, ModelPoolStatus)
    name = routes_of_pool(observed.key.name)
    rewritten = not plan.alike_digest and any(
        one.kind == CONFIG_MAP and one.name == name for one in plan.apply
    )
    return pod.ready and not rewritten and before is not None and holds(before.conditions, "RouterReady")


def _unselectable(pod: PodView, plan: ObjectPlan) -> list[str]:
    """Members whose meaning this router does not know yet."""
    known = pod.state.prototype_keys if pod.state else {}
    return [member.name for member in (plan.table.members if plan.table else ()) if member.name not in known]


def why_not_informed(door: Door, plan: ObjectPlan) -> tuple[str, str]:
    """Reason and message for a door that lacks the table."""
    if door.trouble is not None:
        return door.trouble.reason, with_pod(door.trouble.message, door.trouble.pod)
    words = next((pod.unscheduled for pod in door.current if pod.unscheduled and not pod.node), "")
    if words:
        return "Unschedulable", words
    if len(door.current) < door.wanted:
        return "PodsMissing", "the pods of the stand-by routers are being made"
    if any(pod.state is None for pod in door.current):
        return "PodsStarting", "the stand-by routers start"
    if any(pod.state is not None and plan.is_read_by(pod.state) for pod in door.current):
        names = {name for pod in door.current for name in _unselectable(pod, plan)}
        return "PrototypesMissing", f"no prototypes yet of {listed(names)}"
    return "TableNotRead", "the stand-by routers have not read the current route table yet"


def why_not_open(door: Door) -> tuple[str, str]:
    """Reason and message for a door that has the table and takes no requests."""
    words = sorted({pod.state.because for pod in door.having_table if pod.state and not pod.ready})
    detail = f": {words[0]}" if words else ""
    return "RouterNotReady", f"the stand-by routers do not take requests yet{detail}"
