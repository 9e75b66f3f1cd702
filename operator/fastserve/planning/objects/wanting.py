"""The objects that should be there, each with its owner; and which observed ones stay beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    Kind,
    Manifest,
    kind_of,
)
from fastserve.api.routes import RouteTable
from fastserve.api.submodel import SubModel
from fastserve.planning.moments import Moment
from fastserve.planning.objects import naming
from fastserve.planning.objects.children import deployments_of, numbers_of, revisions_of
from fastserve.planning.objects.earlier_tables import earlier_tables
from fastserve.planning.objects.member_objects import member_budget, member_service
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import asks_for_no_pods, uid_of
from fastserve.planning.objects.ownership import owned
from fastserve.planning.objects.pod_views import member_pods
from fastserve.planning.objects.pool_objects import (
    network_policy,
    pool_service,
    role,
    role_binding,
    routes_object,
    scaling_lease,
    service_account,
    standby_budget,
)
from fastserve.planning.objects.rollout import Course, kept_revisions, next_step, number_of
from fastserve.planning.objects.settings import ObjectSettings
from fastserve.planning.objects.template import (
    member_revision,
    member_template,
    standby_revision,
    standby_template,
)
from fastserve.planning.objects.workloads import (
    Workload,
    controller_revision,
    deployment,
    kept_template,
    member_workload,
    standby_workload,
)
from fastserve.planning.staffing import within

LONGEST_OVERDUE: Final = 60.0
"""Seconds. A pod that has not ended so long after its grace period is on a node that is lost or stuck, and
may never end; the scheduler still counts what it holds."""


@dataclass(frozen=True)
class Wanted:
    """One object that should be there, its owner in it; `sub_model` is empty for the pool's own."""

    manifest: Manifest
    sub_model: str = ""

    @property
    def kind(self) -> Kind:
        return kind_of(self.manifest)

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Wish:
    """`staying` are observed objects, by kind and name, that are left as they are."""

    wanted: tuple[Wanted, ...] = ()
    staying: frozenset[tuple[Kind, str]] = frozenset()

    def __add__(self, other: "Wish") -> "Wish":
        return Wish(self.wanted + other.wanted, self.staying | other.staying)


def running(pool: ModelPool, sub_model: SubModel | None = None) -> bool:
    """Whether pods are to run at all: neither the pool nor the sub-model is suspended."""
    return not pool.spec.suspend and not (sub_model is not None and sub_model.spec.suspend)


def suspended(observed: Observed, name: str) -> bool:
    """Whether spec.suspend of the sub-model or of its pool is true, whatever else their specs say."""
    owners = (observed.pool_manifest, observed.sub_model_manifests.get(name))
    return any(asks_for_no_pods(one) for one in owners)


def replicas_of(pool: ModelPool, sub_model: SubModel) -> int:
    """Replicas that are to run now: with autoscaling what was written through /scale, within its bounds."""
    spec = sub_model.spec
    wanted = spec.replicas if spec.autoscaling is None else within(spec.autoscaling, spec.replicas)
    return wanted if running(pool, sub_model) else 0


def pool_wish(observed: Observed, table: RouteTable, settings: ObjectSettings) -> Wish:
    """The pool's own objects. Raises ValueError where there is no pool."""
    pool, owner = observed.pool, observed.pool_manifest
    if pool is None or owner is None:
        raise ValueError("nothing is wanted of a pool that is not there")
    names = [member.name for member in table.members]
    staff = {member.name: member.staff for member in table.members if member.staff is not None}
    manifests = (
        service_account(pool),
        role(pool, names, staff),
        role_binding(pool),
        scaling_lease(pool) if staff else None,
        routes_object(pool, table, earlier_tables(observed, table)),
        pool_service(pool),
        network_policy(pool, settings.network),
        standby_budget(pool),
    )
    replicas = pool.spec.router.standby_replicas if running(pool) else 0
    course = Course(standby_revision(pool), replicas, surge=True)
    kept = revisions_of(observed, uid_of(owner)).get(course.revision)
    template = kept_template(kept) if kept else standby_template(pool, settings)
    own = Wish(tuple(Wanted(owned(one, owner)) for one in manifests if one is not None))
    return own + _workload_wish(observed, owner, standby_workload(pool, template, replicas), course)


def member_wish(observed: Observed, sub_model: SubModel, settings: ObjectSettings, now: Moment) -> Wish:
    """The objects of one accepted sub-model. Raises ValueError where there is no pool."""
    pool, name = observed.pool, sub_model.metadata.name
    if pool is None:
        raise ValueError("nothing is wanted of a pool that is not there")
    owner = observed.sub_model_manifests[name]
    replicas = replicas_of(pool, sub_model)
    revision = member_revision(pool, sub_model)
    others = (pod for pod in member_pods(observed, name) if pod.revision != revision)
    lingering = any(pod.overdue_seconds(now) < LONGEST_OVERDUE for pod in others)
    course = Course(revision, replicas, surge=sub_model.spec.gpu is None, lingering=lingering)
    kept = revisions_of(observed, uid_of(owner)).get(course.revision)
    template = kept_template(kept) if kept else member_template(pool, sub_model, settings)
    manifests = (member_service(pool, sub_model), member_budget(pool, sub_model))
    own = Wish(
        tuple(Wanted(owned(one, owner), name) for one in manifests if one is not None),
        frozenset({(CONFIG_MAP, naming.prototypes_of_member(name))}),
    )
    workload = member_workload(pool, sub_model, template, replicas)
    return own + _workload_wish(observed, owner, workload, course, sub_model=name)


def _workload_wish(
    observed: Observed, owner: Manifest, workload: Workload, course: Course, *, sub_model: str = ""
) -> Wish:
    deployments = deployments_of(observed, uid_of(owner))
    revisions = revisions_of(observed, uid_of(owner))
    step = next_step(course, deployments)
    numbers = numbers_of(revisions)
    number = number_of(course.revision, numbers)
    wanted = [Wanted(owned(controller_revision(workload, number), owner), sub_model)]
    if step.make:
        wanted.append(Wanted(owned(deployment(workload), owner), sub_model))
    stay = {*kept_revisions(course.revision, numbers), *step.stay}
    return Wish(
        tuple(wanted),
        frozenset(
            [
                *_named(CONTROLLER_REVISION, revisions, stay),
                *_named(DEPLOYMENT, deployments, set(step.stay)),
            ]
        ),
    )


def _named(kind: Kind, objects: Mapping[str, Manifest], revisions: set[str]) -> Iterator[tuple[Kind, str]]:
    for revision, manifest in objects.items():
        if revision in revisions:
            yield kind, str(manifest["metadata"]["name"])
