"""A rollout that is given up: its replicas go back to the stable version."""

from collections.abc import Sequence

from fastserve.api.routes import Member, Rollout
from fastserve.planning.moments import Moment, rfc3339, seconds_between
from fastserve.planning.versions.budget import room, room_by_our_hand
from fastserve.planning.versions.words import Asked, Decision, Heard, Phase, name_of


def go_back(member: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """Those that still have the stable version, or lack the candidate, lose nothing by going back: all of
    them go at once. Those that answer with the candidate alone go as few at a time as may be away. Who is
    away for other reasons is waited for until the deadline; so is who does not come back, where the stable
    version answers on another one at least."""
    rollout = member.rollout
    if rollout is None:
        raise ValueError("what is given up is in the table")
    staying = _staying(member, rollout, heard)
    going = [
        one
        for one in heard
        if one.counts and one.instance not in staying and not one.answers(member.target.digest)
    ]
    free = room(asked, heard, going)
    if not free and seconds_between(rollout.step, now) > rollout.deadline_seconds:
        free = room_by_our_hand(asked, going)
        if not free and _stable_answers(member, heard):
            free = asked.policy.max_unavailable
    named = staying[: max(0, len(staying) - free)]
    because = f"version {name_of(rollout.candidate)} is given up; {len(named)} replicas are still to go back"
    if not named:
        return Decision(member.model_copy(update={"rollout": None}), Phase.RETURNING, because)
    if named != rollout.named:
        rollout = rollout.model_copy(update={"named": named, "step": rfc3339(now), "tried_since": ""})
    return Decision(member.model_copy(update={"rollout": rollout}), Phase.RETURNING, because)


def _staying(member: Member, rollout: Rollout, heard: Sequence[Heard]) -> tuple[str, ...]:
    """Named replicas that answer, and only with the candidate, in the order of their naming; of silent ones
    nobody knows better."""
    by_name = {one.instance: one for one in heard}
    return tuple(
        name
        for name in rollout.named
        if (one := by_name.get(name)) is not None
        and (one.silent or _has_only(one, rollout.candidate.digest, member.target.digest))
    )


def _stable_answers(member: Member, heard: Sequence[Heard]) -> bool:
    """Whether it is known to answer somewhere, or nobody can be heard at all: where it answers nowhere, it
    would take the last replicas with it."""
    return any(one.answers(member.target.digest) for one in heard) or not any(one.state for one in heard)


def _has_only(one: Heard, candidate: str, stable: str) -> bool:
    told = one.version(stable)
    return one.answers(candidate) and not (told is not None and told.phase == "Loaded")
