"""The status of a pool: its door, its members, and whether all of it answers at the current generation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastserve.api.identity import SERVICE_PORT
from fastserve.api.meta import LastFailure
from fastserve.api.modelpool import MemberStatus, ModelPoolStatus
from fastserve.api.objects import DEPLOYMENT
from fastserve.planning.moments import Moment
from fastserve.planning.objects.conditions import (
    MAX_MESSAGE,
    Edition,
    Statement,
    conditions,
    listed,
    shortened,
)
from fastserve.planning.objects.decision import ObjectPlan, WriteFailure
from fastserve.planning.objects.door import Door, door_of, why_not_informed, why_not_open
from fastserve.planning.objects.failures import HOPELESS, INVALID_POD_TEMPLATE, Trouble, last_failure
from fastserve.planning.objects.judging import WAKING, Member, judge_all, write_troubles
from fastserve.planning.objects.naming import service_of_pool
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.pool_objects import scheme_of
from fastserve.planning.objects.reading import read_status
from fastserve.planning.objects.verdicts import Verdict, verdict
from fastserve.planning.plan import Rejection

ROUTER_TEMPLATE = "spec.router.podTemplate"
MAX_MEMBERS = 1000
EXCHANGING = "MembersExchanging"


@dataclass(frozen=True)
class _Pool:
    """Everything that the pool's status is made of; `unwritten` tells of an object of its own that the API
    server did not take, `uninformed` why the door would lack the table."""

    rejection: Rejection | None
    suspended: bool
    least: int
    door: Door
    members: Mapping[str, Member]
    verdicts: Mapping[str, Verdict]
    unwritten: Trouble | None
    uninformed: tuple[str, str]

    @property
    def accepted(self) -> list[str]:
        return [name for name, member in self.members.items() if member.rejection is None]

    @property
    def anybody(self) -> bool:
        """Whether any sub-model takes requests, or would wake for one: without, no stand-by router calls
        itself ready."""
        return any(member.answering or member.asleep for member in self.members.values())

    @property
    def refused(self) -> list[str]:
        return [name for name, member in self.members.items() if member.rejection is not None]

    @property
    def exchanging(self) -> list[str]:
        """Sub-models of which one version takes the place of another."""
        return [name for name in self.accepted if self.members[name].exchanging is not None]

    @property
    def waiting(self) -> list[str]:
        """Sub-models that are not ready; not those that only come back from zero."""
        return [
            name
            for name in self.accepted
            if not self.verdicts[name].ready
            and not (self.verdicts[name].reason == WAKING and self.members[name].known_good)
        ]


def pool_status(
    observed: Observed,
    plan: ObjectPlan,
    failures: Sequence[WriteFailure],
    now: Moment,
    *,
    cluster_domain: str = "cluster.local",
) -> ModelPoolStatus:
    """The status of the pool, which must be there; one that is being deleted has none to be written."""
    manifest = observed.pool_manifest or {"metadata": {}}
    before = read_status(manifest, ModelPoolStatus) or ModelPoolStatus()
    generation = int(manifest["metadata"].get("generation", 0))
    pool = _pool(observed, plan, failures, now)
    why = _verdict(pool)
    ready = sum(one.ready for one in pool.verdicts.values())
    host = f"{service_of_pool(observed.key.name)}.{observed.key.namespace}.svc.{cluster_domain}"
    return ModelPoolStatus(
        observed_generation=generation,
        conditions=conditions(_statements(pool, why), Edition(before.conditions, generation, now)),
        members=_members(pool),
        ready_members=f"{ready}/{len(pool.members)}",
        url=f"{scheme_of(observed.pool)}://{host}" + ("" if SERVICE_PORT == 80 else f":{SERVICE_PORT}"),
        last_failure=_failure(pool, why, (before.last_failure, generation), now),
    )


def _pool(observed: Observed, plan: ObjectPlan, failures: Sequence[WriteFailure], now: Moment) -> _Pool:
    own = [one for one in (*plan.foreign, *failures) if not one.sub_model]
    members = judge_all(observed, plan, failures, now)
    rejection = plan.pool_rejection or _template_rejection(own)
    spec = observed.pool.spec if observed.pool else None
    door = door_of(observed, plan, own)
    return _Pool(
        rejection=rejection,
        suspended=bool(spec and spec.suspend),
        least=spec.combination.min_members if spec else 1,
        door=door,
        uninformed=why_not_informed(door, plan),
        members=members,
        verdicts={name: verdict(member, plan.pool_rejection) for name, member in members.items()},
        unwritten=min(write_troubles(own), default=None),
    )


def _template_rejection(refused: Sequence[WriteFailure]) -> Rejection | None:
    for one in sorted(refused, key=lambda one: (one.name, one.message)):
        if one.kind == DEPLOYMENT and not one.foreign and "spec.template." in one.message:
            message = f"{ROUTER_TEMPLATE}: the API server refuses the pods: {shortened(one.message, 900)}"
            return Rejection(INVALID_POD_TEMPLATE, ROUTER_TEMPLATE, message)
    return None


def _verdict(pool: _Pool) -> Verdict:
    if pool.rejection is not None:
        return Verdict(False, pool.rejection.reason, pool.rejection.message, stalled=True)
    if pool.suspended:
        return Verdict(False, "Suspended", "it is suspended and runs no pods")
    if pool.unwritten is not None:
        stalled = pool.unwritten.reason in HOPELESS
        return Verdict(
            False, pool.unwritten.reason, pool.unwritten.message, under_way=not stalled, stalled=stalled
        )
    if not pool.accepted:
        return _without_members(pool)
    return _run_verdict(pool)


def _run_verdict(pool: _Pool) -> Verdict:
    if not pool.door.informed:
        return Verdict(False, *pool.uninformed, under_way=True)
    if pool.waiting:
        return _waiting(pool)
    if pool.anybody and not pool.door.open:
        return Verdict(False, *why_not_open(pool.door), under_way=True)
    return Verdict(True, "InferenceAnswered", _refused(pool, "all sub-models answered an inference"))


def _without_members(pool: _Pool) -> Verdict:
    if pool.refused:
        return Verdict(False, "NoMemberAccepted", f"rejected: {listed(pool.refused)}", under_way=True)
    return Verdict(False, "NoMembers", "no SubModel names this pool in its poolRef", under_way=True)


def _waiting(pool: _Pool) -> Verdict:
    waiting = [pool.verdicts[name] for name in pool.waiting]
    reasons = ", ".join(sorted({one.reason for one in waiting}))
    stalled = all(one.stalled for one in waiting)
    under_way = not stalled and any(one.under_way for one in waiting)
    message = _refused(pool, f"not ready: {listed(pool.waiting)} ({reasons})")
    return Verdict(False, "MembersNotReady", message, under_way=under_way, stalled=stalled)


def _refused(pool: _Pool, message: str) -> str:
    return message + (f"; rejected: {listed(pool.refused)}" if pool.refused else "")


def _statements(pool: _Pool, why: Verdict) -> Iterator[Statement]:
    yield Statement("Ready", why.ready, why.reason, why.message)
    yield _available(pool)
    yield _progressing(pool, why)
    if pool.rejection is not None:
        yield Statement("Accepted", False, pool.rejection.reason, pool.rejection.message)
    else:
        yield Statement("Accepted", True, "Accepted", "the spec can be served")
    yield _members_ready(pool)
    yield _router_ready(pool)
    if why.under_way:
        yield Statement("Reconciling", True, why.reason, why.message)
    elif why.ready and pool.exchanging:
        yield Statement("Reconciling", True, EXCHANGING, _exchanging(pool))
    if why.stalled:
        yield Statement("Stalled", True, why.reason, why.message)
    if pool.suspended:
        yield Statement("Suspended", True, "Suspended", "spec.suspend is true")


def _available(pool: _Pool) -> Statement:
    answering = [name for name, member in pool.members.items() if member.answering]
    sleeping = [
        name
        for name, member in pool.members.items()
        if name not in answering and (member.asleep or (member.waking and member.known_good))
    ]
    doors = any(pod.ready for pod in pool.door.pods) or answering
    if doors and len(answering) + len(sleeping) >= pool.least:
        message = "enough sub-models take requests"
        if len(answering) < pool.least:
            message += f", or wake for them: {listed(sleeping)}"
        return Statement("Available", True, "Answering", message)
    message = f"{len(answering)} sub-models take requests; combination.minMembers is {pool.least}"
    return Statement("Available", False, "TooFewMembers", message)


def _progressing(pool: _Pool, why: Verdict) -> Statement:
    if why.under_way:
        return Statement("Progressing", True, why.reason, why.message)
    if why.ready and pool.exchanging:
        return Statement("Progressing", True, EXCHANGING, _exchanging(pool))
    if why.ready:
        return Statement("Progressing", False, "UpToDate", "everything is as it is wanted")
    return Statement("Progressing", False, why.reason, why.message)


def _exchanging(pool: _Pool) -> str:
    return f"versions are exchanged, and all answer meanwhile: {listed(pool.exchanging)}"


def _members_ready(pool: _Pool) -> Statement:
    if not pool.accepted:
        why = _without_members(pool)
        return Statement("MembersReady", False, why.reason, why.message)
    if pool.waiting:
        return Statement("MembersReady", False, "MembersNotReady", _waiting(pool).message)
    return Statement("MembersReady", True, "MembersReady", _refused(pool, "all sub-models are ready"))


def _router_ready(pool: _Pool) -> Statement:
    if pool.suspended:
        return Statement("RouterReady", False, "Suspended", "no stand-by router is wanted")
    if not pool.door.informed:
        return Statement("RouterReady", False, *pool.uninformed)
    if pool.anybody and not pool.door.open:
        return Statement("RouterReady", False, *why_not_open(pool.door))
    return Statement("RouterReady", True, "TableRead", "the stand-by routers have the current route table")


def _members(pool: _Pool) -> tuple[MemberStatus, ...]:
    return tuple(
        MemberStatus(
            name=name,
            ready=pool.verdicts[name].ready,
            reason=pool.verdicts[name].reason,
            message=shortened(pool.verdicts[name].message, MAX_MESSAGE),
            version=_version(member),
            replicas=len(member.staying),
            ready_replicas=len(member.answering),
        )
        for name, member in sorted(pool.members.items())[:MAX_MEMBERS]
    )


def _version(member: Member) -> str:
    told = member.before.active_version if member.before else ""
    heard = sorted({name for pod in member.answering for name in pod.active_versions})
    return (", ".join(heard) or (told if member.answering else ""))[:128]


def _failure(
    pool: _Pool, why: Verdict, told: tuple[LastFailure | None, int], now: Moment
) -> LastFailure | None:
    before, generation = told
    if why.ready and before is not None and before.generation < generation:
        before = None
    failure = last_failure(pool.door.troubles, before, now, ready=pool.door.informed)
    if failure is None or failure is before:
        return before
    return LastFailure(**failure.model_dump(by_alias=False), generation=generation)
