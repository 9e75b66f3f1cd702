"""What to do about one pool key, from one observation.

    pool gone        -> its children and those of its sub-models go; these wait for it (PoolNotFound)
    pool at fault    -> nothing is applied; what runs goes on as it is
    otherwise        -> members are accepted or rejected one by one; every accepted one gets its objects
    rejected member  -> what runs of it stays, and keeps its place in the route table; nothing new is made
    suspended        -> no pods, whatever else is wrong with the sub-model or its pool

All of it is a function of what was observed, so that looking again at the same gives the same plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import Manifest
from fastserve.api.routes import Member
from fastserve.api.scaling import Staff
from fastserve.api.submodel import SubModel
from fastserve.errors import InvalidSpec
from fastserve.planning.facts import EngineHome
from fastserve.planning.moments import Moment
from fastserve.planning.objects import pod_paths
from fastserve.planning.objects.children import deployments_of, table_of
from fastserve.planning.objects.decision import ObjectPlan
from fastserve.planning.objects.differences import applies, deletes, foreign, stops
from fastserve.planning.objects.earlier_tables import alike, just_replaced, table_digest
from fastserve.planning.objects.exchanging import exchanges
from fastserve.planning.objects.membership import Membership, check_fallback, membership, without_pool
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import asks_for_no_pods, uid_of
from fastserve.planning.objects.pod_views import member_pods
from fastserve.planning.objects.rechecking import recheck_after
from fastserve.planning.objects.settings import ObjectSettings
from fastserve.planning.objects.template import member_revision, standby_revision
from fastserve.planning.objects.wanting import Wish, member_wish, pool_wish, running, suspended
from fastserve.planning.plan import Rejection
from fastserve.planning.routes import EngineSetting, check_size, member_of, route_table
from fastserve.planning.staffing import staff_of
from fastserve.planning.versions.fitting import remembering_less
from fastserve.planning.versions.words import Decision

CLUSTER_ENGINE = EngineSetting(EngineHome(pod_paths.ENGINE_PYTHON, pod_paths.STUB_PATHS), 1)
"""Where the engine lies in Triton's image; threads are each member's own."""


def plan_objects(observed: Observed, settings: ObjectSettings, now: Moment) -> ObjectPlan:
    """The plan; it raises nothing for what users wrote. `now` decides only when to look again, and
    how long a pod that does not end is waited for."""
    pool = observed.pool
    if observed.pool_fault is not None:
        plan = _halted(observed, observed.pool_fault.field, observed.pool_fault.message)
    elif pool is None:
        plan = _without_pool(observed)
    else:
        plan = _with_pool(observed, pool, settings, now)
    return replace(plan, recheck_after=recheck_after(observed, plan, now))


def _without_pool(observed: Observed) -> ObjectPlan:
    gone = deletes(observed, Wish(), frozenset())
    return ObjectPlan(
        delete=gone,
        rejected=without_pool(observed),
        because=f"there is no ModelPool {observed.key.name}; {len(gone)} objects to delete",
    )


def _halted(observed: Observed, field: str, message: str) -> ObjectPlan:
    return ObjectPlan(
        delete=stops(observed, _suspended(observed)),
        pool_rejection=Rejection(InvalidSpec.reason, field, f"{field}: {message}"),
        because=f"ModelPool {observed.key.name} is rejected; what runs goes on",
    )


def _suspended(observed: Observed) -> list[Manifest | None]:
    """The pool and its sub-models, where they are to run no pods."""
    owners = (observed.pool_manifest, *observed.sub_model_manifests.values())
    return [owner for owner in owners if asks_for_no_pods(observed.pool_manifest) or asks_for_no_pods(owner)]


@dataclass(frozen=True)
class _Members:
    """Members of a pool that can be planned: `wanted` as the specs of those that are accepted say, `decided`
    as they are to be now, `kept` as the table that routers have names them."""

    judged: Membership
    wanted: Mapping[str, Member]
    decided: Mapping[str, Decision]
    kept: Mapping[str, Member]

    @property
    def in_table(self) -> list[Member]:
        return [*(one.member for one in self.decided.values()), *self.kept.values()]

    @property
    def as_specified(self) -> list[Member]:
        """Without what is remembered of versions."""
        forgotten = {"rollout": None, "proved": (), "refused": ()}
        return [*self.wanted.values(), *(one.model_copy(update=forgotten) for one in self.kept.values())]


def _with_pool(observed: Observed, pool: ModelPool, settings: ObjectSettings, now: Moment) -> ObjectPlan:
    judged = membership(observed, pool)
    wanted = {
        name: member_of(one, pool.spec.task, CLUSTER_ENGINE, _staff(observed, pool, one.sub_model))
        for name, one in judged.accepted.items()
    }
    decided = exchanges(observed, judged.accepted, wanted, now)
    members = _Members(judged, wanted, decided, _kept(observed, judged))
    known = _known(pool, members)
    try:
        check_fallback(pool, {**observed.sub_models, **observed.unreadable})
        check_size(route_table(pool, members.as_specified, settings.state_seed))
        table = remembering_less(route_table(pool, members.in_table, settings.state_seed))
    except InvalidSpec as error:
        rejection = Rejection(error.reason, error.field, error.message)
        because = f"ModelPool {pool.metadata.name} is rejected; what runs goes on"
        halted = stops(observed, _suspended(observed))
        return replace(known, delete=halted, pool_rejection=rejection, because=because)
    carried = replace(
        known,
        table=table,
        table_digest=table_digest(table),
        alike_digest=alike(observed, table),
        just_replaced=just_replaced(observed, table, now),
    )
    return _written(observed, carried, settings, now)


def _staff(observed: Observed, pool: ModelPool, sub_model: SubModel) -> Staff | None:
    """How many replicas it has and may have; None where it is not scaled, or not now."""
    if not running(pool, sub_model):
        return None
    pods = member_pods(observed, sub_model.metadata.name)
    unplaced = sum(pod.unplaced for pod in pods if not pod.leaving)
    return staff_of(sub_model, sub_model.spec.replicas, unplaced)


def _known(pool: ModelPool, members: _Members) -> ObjectPlan:
    """What is wanted of the members, whether or not it can be written."""
    targets = {name: one.target for name, one in (*members.wanted.items(), *members.kept.items())}
    return ObjectPlan(
        rejected=members.judged.rejected,
        revisions={
            name: member_revision(pool, one.sub_model) for name, one in members.judged.accepted.items()
        },
        targets=targets,
        exchanges=members.decided,
        kept=frozenset(members.kept),
        standby_revision=standby_revision(pool),
    )


def _kept(observed: Observed, judged: Membership) -> dict[str, Member]:
    """Rejected sub-models that run, or would: their members in the table that routers have. They are not
    scaled: nobody would carry out what is decided on them."""
    table = table_of(observed)
    return {
        member.name: member.model_copy(update={"staff": None})
        for member in (table.members if table else ())
        if member.name in judged.rejected
        and (
            suspended(observed, member.name)
            or deployments_of(observed, uid_of(observed.sub_model_manifests.get(member.name)))
        )
    }


def _written(observed: Observed, plan: ObjectPlan, settings: ObjectSettings, now: Moment) -> ObjectPlan:
    if plan.table is None:
        raise ValueError("a plan that is written has a route table")
    wish = pool_wish(observed, plan.table, settings)
    for name in plan.revisions:
        wish += member_wish(observed, observed.sub_models[name], settings, now)
    # Of a rejected member all objects stay, also where the table, which somebody else can edit, has lost it.
    to_apply, to_delete = applies(observed, wish), deletes(observed, wish, frozenset(plan.rejected))
    idle = [observed.sub_model_manifests[name] for name in plan.rejected if suspended(observed, name)]
    to_delete += stops(observed, idle)
    taken = foreign(observed, wish)
    counts = f"{len(to_apply)} objects to apply, {len(to_delete)} to delete"
    refused = "".join(f"; {name} is rejected: {why.message}" for name, why in sorted(plan.rejected.items()))
    return replace(
        plan,
        apply=to_apply,
        delete=to_delete,
        foreign=taken,
        because=f"{len(plan.revisions)} sub-models, {counts}{refused}",
    )
