"""What the status of a scaled sub-model says of its scaling: the word of the router that holds the pool's
Lease, as it was heard last."""

from collections.abc import Iterator

from fastserve.api.scaling import ScalingDecision, ScalingStatus
from fastserve.planning.objects.conditions import Statement, find, shortened
from fastserve.planning.objects.judging import Member

METRICS_AVAILABLE, METRICS_MISSING = "MetricsAvailable", "MetricsMissing"
_SOURCES = {
    "Routers": "the pool's routers tell each other of their load",
    "Prometheus": "Prometheus tells of the load",
}


def scaling_status(member: Member) -> ScalingStatus | None:
    """The last decision on its replicas. One that differs only in its words is the same: numbers move all
    the time."""
    if not member.autoscaled:
        return None
    told, made = member.before.scaling if member.before else None, _decision(member)
    return told if made is None or _is_told(member, made) else _status_of(made)


def has_news(member: Member) -> bool:
    """Whether the holder asks for another number of replicas than those that are to run, which was not told
    yet: it may not have come to write it."""
    made = _decision(member)
    return made is not None and made.replicas != member.replicas and not _is_told(member, made)


def metrics_available(member: Member) -> Iterator[Statement]:
    """The condition of that type, where the sub-model is scaled and anybody ever told of it."""
    heard = member.scaling if member.staff is not None else None
    last = find(member.before.conditions, METRICS_AVAILABLE) if member.before else None
    if not member.autoscaled:
        return
    if heard is not None and heard.problem:
        yield Statement(METRICS_AVAILABLE, False, METRICS_MISSING, heard.problem)
    elif heard is not None:
        yield Statement(METRICS_AVAILABLE, True, "MetricsRead", _SOURCES[heard.source])
    elif last is not None:
        yield Statement(METRICS_AVAILABLE, last.status == "True", last.reason, last.message)


def _decision(member: Member) -> ScalingDecision | None:
    made = member.scaling.decisions if member.scaling is not None and member.staff is not None else ()
    return next((one for one in made if one.member == member.name), None)


def _is_told(member: Member, made: ScalingDecision) -> bool:
    told, said = member.before.scaling if member.before else None, _status_of(made)
    return told is not None and told.model_copy(update={"message": said.message}) == said


def _status_of(made: ScalingDecision) -> ScalingStatus:
    return ScalingStatus(
        desired_replicas=made.replicas,
        reason=made.reason,
        message=shortened(made.message),
        time=made.time[:64],
    )
