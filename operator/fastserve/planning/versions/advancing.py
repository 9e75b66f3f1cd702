"""A rollout that is wanted: who is named next, how much it is given, when it is over."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastserve.api.routes import MAX_REMEMBERED, Member, Refused, Rollout
from fastserve.api.versions import CANDIDATE_LOST, RolloutPolicy
from fastserve.planning.moments import Moment, rfc3339, seconds_between
from fastserve.planning.versions.budget import room, room_by_our_hand
from fastserve.planning.versions.gate import Trial, definite_fault, gate_fault, last_words
from fastserve.planning.versions.holding import strangers
from fastserve.planning.versions.returning import go_back
from fastserve.planning.versions.words import (
    Asked,
    Decision,
    Fault,
    Heard,
    Phase,
    counted,
    name_of,
    percent,
)

MAX_TRIALS = 5
"""Canaries that begin again because a replica lost the candidate, until that is the version's fault."""
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
MAX_OLD_MESSAGE = 120
"""Characters that the table keeps of why versions were refused before the newest one: it is bounded for all
members together."""
OTHERS_AWAY = "the next ones wait, as others are away"
CLOCK_SECONDS = 1.0
"""Moments in the table are whole seconds."""


@dataclass(frozen=True)
class _Scene:
    """A rollout beside what was heard; `named` are in the order of their naming, and all there."""

    member: Member
    rollout: Rollout
    asked: Asked
    heard: Sequence[Heard]
    now: Moment

    @property
    def digest(self) -> str:
        return self.rollout.candidate.digest

    @property
    def named(self) -> list[Heard]:
        by_name = {one.instance: one for one in self.heard}
        return [by_name[name] for name in self.rollout.named if name in by_name]

    @property
    def trying(self) -> bool:
        """Whether the share is a canary's."""
        return float(self.rollout.share) < 1

    @property
    def pending(self) -> list[Heard]:
        """Named ones that are not yet where the rollout wants them."""
        if self.trying:
            return [one for one in self.named if not one.answers(self.digest)]
        return [one for one in self.named if not one.answers_wholly(self.digest)]

    @property
    def going(self) -> list[Heard]:
        """Those on their way: to the candidate, or back to the stable version from one that was given up."""
        back = [one for one in strangers(self.member, self.heard) if one.instance not in self.rollout.named]
        return [*self.pending, *back]

    @property
    def unnamed(self) -> list[Heard]:
        """Those that may be named next: first who takes requests, so that a trial has some."""
        others = [one for one in self.heard if one.counts and one.instance not in self.rollout.named]
        return sorted(others, key=lambda one: (not one.ready, one.instance))

    def room(self, since: str) -> int:
        """How many of those that take requests may be named; who is away for other reasons is waited for
        until a deadline after `since`."""
        if since and seconds_between(since, self.now) > self.rollout.deadline_seconds:
            return room_by_our_hand(self.asked, self.going)
        return room(self.asked, self.heard, self.going)

    def decide(self, because: str, /, **changes: object) -> Decision:
        rollout = self.rollout.model_copy(update=changes)
        phase = Phase.CANARY if float(rollout.share) < 1 else Phase.HOT_SWAP
        course = f"version {name_of(rollout.candidate)} takes the place of {name_of(self.member.target)}"
        member = self.member.model_copy(update={"rollout": rollout})
        return Decision(member, phase, f"{course}: {because}")


def first_share(policy: RolloutPolicy) -> str:
    """The canary's share, or 1 where there is no canary."""
    return policy.canary.share if 0 < float(policy.canary.share) < 1 else "1"


def advance(member: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """One step of the rollout in `member`, or none where none is due."""
    scene = _without_gone(member, asked, heard, now)
    fault = _fault(scene)
    if fault is not None:
        return go_back(_refused(scene, fault), asked, heard, now)
    return _canary(scene) if scene.trying else _full(scene)


def _without_gone(member: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> _Scene:
    rollout = member.rollout
    if rollout is None:
        raise ValueError("what advances is in the table")
    there = {one.instance for one in heard}
    named = tuple(name for name in rollout.named if name in there)
    if named != rollout.named:
        rollout = rollout.model_copy(update={"named": named, "step": rfc3339(now)})
    return _Scene(member.model_copy(update={"rollout": rollout}), rollout, asked, heard, now)


def _fault(scene: _Scene) -> Fault | None:
    rollout, named = scene.rollout, scene.named
    trial = Trial(scene.digest, scene.member.target.digest, named, scene.heard)
    found = definite_fault(rollout, named) or gate_fault(scene.asked.policy.gate, trial)
    if found is not None:
        return found
    if _overdue(scene):
        words = last_words(rollout, named)
        message = f"no step forward for {rollout.deadline_seconds} seconds" + (f"; {words}" if words else "")
        return Fault(DEADLINE_EXCEEDED, message)
    if rollout.trials >= MAX_TRIALS and not rollout.tried_since and not scene.pending:
        return Fault(CANDIDATE_LOST, f"it was lost in each of {MAX_TRIALS} canaries")
    return None


def _overdue(scene: _Scene) -> bool:
    """Whether a step is waited for too long. A trial that is on is none, however long ago it began; and of
    silent replicas the step may have been made, as after an outage of who decides: they have it twice."""
    rollout, pending = scene.rollout, scene.pending
    patience = rollout.deadline_seconds * (2 if all(one.silent for one in pending) else 1)
    waits = bool(pending) and not rollout.tried_since
    return waits and seconds_between(rollout.step, scene.now) > patience


def _refused(scene: _Scene, fault: Fault) -> Member:
    refused = Refused(
        digest=scene.digest,
        generation=scene.member.generation,
        reason=fault.reason,
        message=fault.message,
        time=rfc3339(scene.now),
    )
    others = [
        one.model_copy(update={"message": one.message[:MAX_OLD_MESSAGE]})
        for one in scene.member.refused
        if one.digest != scene.digest
    ]
    return scene.member.model_copy(
        update={
            "refused": (*others, refused)[-MAX_REMEMBERED:],
            "rollout": scene.rollout.model_copy(update={"step": rfc3339(scene.now)}),
        }
    )


def _canary(scene: _Scene) -> Decision:
    """A trial with a part of the requests of as many replicas as may exchange at once."""
    rollout, policy, now = scene.rollout, scene.asked.policy, rfc3339(scene.now)
    share, trying = first_share(policy), percent(rollout.share)
    if share != rollout.share:
        return scene.decide(_tells(share), share=share, step=now, tried_since="", trials=0)
    if not rollout.named:
        return _named_first(scene)
    seconds = policy.canary.duration_seconds
    replicas = counted(len(scene.named), "replica")
    course = f"canary with {trying} of the requests of {replicas} for {seconds} seconds"
    if scene.pending:
        return _not_all_try(scene, course)
    if not rollout.tried_since:
        return scene.decide(course, tried_since=now, trials=rollout.trials + 1)
    # The moment in the table may be up to a second too early.
    if seconds_between(rollout.tried_since, scene.now) >= seconds + CLOCK_SECONDS:
        return scene.decide("the canary went well", share="1", step=now, tried_since="", trials=0)
    return scene.decide(course)


def _not_all_try(scene: _Scene, course: str) -> Decision:
    """A trial that has not begun, is lost, or of which too little was heard."""
    if _only_unheard(scene):
        return scene.decide(course)
    because = f"canary with {percent(scene.rollout.share)}, {_waiting(scene)}"
    if not scene.rollout.tried_since:
        return scene.decide(because)
    return scene.decide(because, tried_since="", step=rfc3339(scene.now))


def _only_unheard(scene: _Scene) -> bool:
    """Whether a trial that is on lacks nothing but the word of replicas that take requests: that is not
    waited for longer than a step may take after the trial's end."""
    patience = scene.asked.policy.canary.duration_seconds + scene.rollout.deadline_seconds
    tried = scene.rollout.tried_since
    patient = bool(tried) and seconds_between(tried, scene.now) <= patience
    return patient and all(one.silent for one in scene.pending)


def _named_first(scene: _Scene) -> Decision:
    unnamed = scene.unnamed
    if not unnamed:
        return scene.decide("no replica runs that could try it")
    anybody = any(one.ready for one in unnamed)
    free = scene.room(scene.rollout.step) if anybody else scene.asked.policy.max_unavailable
    first = tuple(one.instance for one in unnamed[:free] if one.ready is anybody)
    if not first:
        return scene.decide(OTHERS_AWAY)
    because = f"canary with {percent(scene.rollout.share)}, {counted(len(first), 'replica')} loads it"
    return scene.decide(because, named=first, step=rfc3339(scene.now), tried_since="", trials=0)


def _full(scene: _Scene) -> Decision:
    """Replica after replica, wholly."""
    rollout, unnamed = scene.rollout, scene.unnamed
    following = _next(scene)
    if following:
        named = (*rollout.named, *following)
        return scene.decide(_done(scene), named=named, step=rfc3339(scene.now), tried_since="")
    if scene.pending:
        if rollout.tried_since:
            return scene.decide(_done(scene), step=rfc3339(scene.now), tried_since="")
        return scene.decide(_done(scene))
    if unnamed:
        since = rollout.tried_since or rfc3339(scene.now)
        return scene.decide(f"{_done(scene)}; {OTHERS_AWAY}", tried_since=since)
    if not scene.named:
        return scene.decide("no replica runs that could load it")
    return _promoted(scene)


def _next(scene: _Scene) -> tuple[str, ...]:
    """Who is named next. Who takes no requests loses nothing by it, so that only as many as may exchange at
    once limits those."""
    free = room_by_our_hand(scene.asked, scene.going)
    ready = [one.instance for one in scene.unnamed if one.ready]
    away = [one.instance for one in scene.unnamed if not one.ready]
    return tuple([*ready[: scene.room(scene.rollout.tried_since)], *away][:free])


def _done(scene: _Scene) -> str:
    done, of = len(scene.named) - len(scene.pending), sum(one.counts for one in scene.heard)
    return f"{done} of {counted(of, 'replica')} answer with it"


def _waiting(scene: _Scene) -> str:
    return f"{counted(len(scene.pending), 'replica')} to load it"


def _tells(share: str) -> str:
    return "no canary any more" if share == "1" else f"canary with {percent(share)}"


def _promoted(scene: _Scene) -> Decision:
    member, digest = scene.member, scene.digest
    proved = (*(one for one in member.proved if one != digest), digest)[-MAX_REMEMBERED:]
    update = {
        "target": scene.rollout.candidate,
        "max_concurrency": scene.asked.wanted.max_concurrency,
        "rollout": None,
        "proved": proved,
        "refused": tuple(one for one in member.refused if one.digest != digest),
    }
    because = f"every replica answers with version {name_of(scene.rollout.candidate)}"
    return Decision(member.model_copy(update=update), Phase.REST, because)
