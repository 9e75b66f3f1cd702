"""The status of a sub-model: what is so, seen against what is wanted. Pure; the same seen twice says the
same, word for word, so that nothing is written while nothing happens."""

from collections.abc import Iterator, Sequence

from fastserve.api.meta import LastFailure
from fastserve.api.submodel import SubModelStatus
from fastserve.errors import InvalidSpec
from fastserve.planning.moments import Moment
from fastserve.planning.objects.conditions import Edition, Statement, conditions, holds
from fastserve.planning.objects.decision import ObjectPlan, WriteFailure
from fastserve.planning.objects.failures import last_failure
from fastserve.planning.objects.happenings import Happening, events
from fastserve.planning.objects.judging import Member, judge
from fastserve.planning.objects.naming import member_selector
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.placements import placements
from fastserve.planning.objects.pool_status import pool_status
from fastserve.planning.objects.scaled import metrics_available, scaling_status
from fastserve.planning.objects.verdicts import SCALING_UP, Verdict, progress, scaling_up, verdict

__all__ = ["Happening", "events", "pool_status", "sub_model_status"]


def sub_model_status(
    name: str, observed: Observed, plan: ObjectPlan, failures: Sequence[WriteFailure], now: Moment
) -> SubModelStatus:
    """The status of the SubModel `name`, which must be in ``sub_models`` or ``unreadable``; `failures` are
    the writes of this look that the API server did not take."""
    member = judge(name, observed, plan, failures, now)
    why = verdict(member, plan.pool_rejection)
    before = member.before or SubModelStatus()
    edition = Edition(before.conditions, member.generation, now)
    placed = placements(member)
    active = sorted({name for one in placed if one.phase == "Ready" for name in one.version.split(", ")})
    selector = member_selector(observed.key.name, name)
    return SubModelStatus(
        observed_generation=member.generation,
        conditions=conditions(_statements(member, why, observed.key.name), edition),
        replicas=len(member.staying),
        ready_replicas=len(member.answering),
        selector=",".join(f"{key}={value}" for key, value in sorted(selector.items())),
        revision=member.revision or before.revision,
        proved_revision=member.proof if member.was_proved else before.proved_revision,
        active_version=", ".join(name for name in active if name)[:128],
        target_version=_target_version(member),
        placement=placed,
        load=progress(member),
        scaling=scaling_status(member),
        last_failure=failure_of(member, why, now),
    )


def _target_version(member: Member) -> str:
    """The user's name for the weights, or what a router read from them, or the beginning of the digest."""
    if member.target is None:
        return ""
    if member.target.version:
        return member.target.version
    read = sorted(pod.model.version for pod in member.proved if pod.model and pod.model.version)
    before = member.before
    # What was asked for and never ready is no name of this one.
    known = before.target_version if before and holds(before.conditions, "Ready") else ""
    known = known if member.known_good else ""
    return (read[0] if read else known or member.target.digest[:12])[:128]


def failure_of(member: Member, why: Verdict, now: Moment) -> LastFailure | None:
    """The last failure: what is wrong now, or what was, until a newer generation answers."""
    before = member.before.last_failure if member.before else None
    refused = member.refusal
    if refused is not None:
        return LastFailure(
            reason=refused.reason,
            message=refused.message,
            time=refused.time,
            generation=member.generation,
        )
    if why.ready and before is not None and before.generation < member.generation:
        before = None
    told = last_failure(member.troubles, before, now, ready=why.ready)
    if told is None or told is before:
        return before
    return LastFailure(**told.model_dump(by_alias=False), generation=member.generation)


def _statements(member: Member, why: Verdict, pool: str) -> Iterator[Statement]:
    yield Statement("Ready", why.ready, why.reason, why.message)
    yield _available(member)
    yield _progressing(member, why)
    yield _accepted(member, pool)
    yield _placement_ready(member)
    yield from metrics_available(member)
    if why.under_way:
        yield Statement("Reconciling", True, why.reason, why.message)
    elif member.exchanging is not None and why.ready:
        yield Statement("Reconciling", True, member.exchanging.phase, member.exchanging.because)
    if why.stalled:
        yield Statement("Stalled", True, why.reason, why.message)
    if member.suspended:
        yield Statement("Suspended", True, "Suspended", "spec.suspend of the sub-model or its pool is true")


def _available(member: Member) -> Statement:
    count = len(member.answering)
    if count:
        told = "1 replica takes requests" if count == 1 else f"{count} replicas take requests"
        return Statement("Available", True, "Answering", told)
    return Statement("Available", False, "NoReplicaAnswers", "no replica takes requests")


def _progressing(member: Member, why: Verdict) -> Statement:
    stuck = _stuck(member)
    if not why.ready and stuck:
        return Statement("Progressing", False, "ProgressDeadlineExceeded", stuck)
    if why.under_way:
        return Statement("Progressing", True, why.reason, why.message)
    if member.exchanging is not None and why.ready:
        return Statement("Progressing", True, member.exchanging.phase, member.exchanging.because)
    if why.ready and scaling_up(member):
        return Statement("Progressing", True, SCALING_UP, scaling_up(member))
    if why.ready:
        return Statement("Progressing", False, "UpToDate", "everything is as it is wanted")
    return Statement("Progressing", False, why.reason, why.message)


def _stuck(member: Member) -> str:
    for condition in ((member.deployment or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return f"revision {member.revision} has made no progress for ten minutes"
    return ""


def _accepted(member: Member, pool: str) -> Statement:
    if member.rejection is not None:
        return Statement("Accepted", False, member.rejection.reason, member.rejection.message)
    # Only the engine, with the checkpoint before it, can judge some fields.
    fault = member.trouble
    if fault is not None and fault.reason == InvalidSpec.reason:
        return Statement("Accepted", False, fault.reason, fault.message)
    return Statement("Accepted", True, "Accepted", f"it is a member of pool {pool}")


def _placement_ready(member: Member) -> Statement:
    placed = [pod for pod in member.current if pod.node]
    if member.rejection is not None and member.target is None:
        return Statement("PlacementReady", False, member.rejection.reason, "it is not accepted")
    if member.replicas == 0:
        return Statement("PlacementReady", True, "NothingToPlace", "no replicas are wanted")
    if len(placed) >= member.replicas:
        return Statement("PlacementReady", True, "Placed", "every replica has its node")
    if member.unscheduled:
        return Statement("PlacementReady", False, "Unschedulable", member.unscheduled)
    message = f"{len(placed)} of {member.replicas} replicas have their node"
    return Statement("PlacementReady", False, "PodsMissing", message)
