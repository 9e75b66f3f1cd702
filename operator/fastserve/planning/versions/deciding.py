"""The one decision about versions: what a member's entry in the route table is to be next.

    nothing answers, or nobody runs       -> the asked version is the stable one at once
    refused at this generation            -> the stable one stays
    new pods come                         -> they get the stable one; where they cannot hold it, as the first
    otherwise                             -> a rollout: replicas are named, a few at a time, and tried
    a rollout that nobody wants any more  -> its replicas go back, a few at a time
    the table is lost                     -> as the first, and who answers with another keeps it for a while

All memory is in the table itself, so that whoever decides next goes on from there. The same observation
gives the same member, byte for byte, until a step is due.
"""

from collections.abc import Sequence
from dataclasses import replace

from fastserve.api.routes import MAX_REMEMBERED, Member, Refused, Rollout
from fastserve.api.versions import RolloutType
from fastserve.planning.moments import Moment, rfc3339
from fastserve.planning.versions.advancing import advance, first_share
from fastserve.planning.versions.holding import is_held, let_go, strangers, take_at_once
from fastserve.planning.versions.returning import go_back
from fastserve.planning.versions.words import Asked, Decision, Heard, Phase, name_of


def next_member(before: Member | None, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """The member as it is to be, from the member `before` in the table, what is `asked`, and the replicas
    that are there."""
    decided = _decided(before, asked, heard, now)
    return replace(decided, member=without_idle_memory(decided.member))


def without_idle_memory(member: Member) -> Member:
    """Which spec asked is remembered only where a version is on its way or was refused: else an edit that
    changes nothing for the routers would still give all of them a new table."""
    if member.rollout is not None or member.refused:
        return member
    return member.model_copy(update={"generation": 0, "asked": ""})


def _decided(before: Member | None, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    if before is None:
        decided = take_at_once(asked.wanted, asked, heard, now)
        return decided if decided.member.rollout else Decision(asked.wanted, Phase.REST, "it is a new member")
    kept = _carried(before, asked)
    rollout = kept.rollout
    if rollout is None:
        return _without_rollout(kept, asked, heard, now)
    if is_held(kept):
        return _with_held(kept, asked, heard, now)
    if asked.policy.paused and not _needs_new_pods(kept, asked):
        because = f"version {name_of(rollout.candidate)} is paused where it is"
        return Decision(kept, Phase.PAUSED, because)
    if before.rollout is not None and before.rollout.paused:
        kept = _changed(kept, rollout.model_copy(update={"step": rfc3339(now)}))
    return _with_rollout(kept, asked, heard, now)


def refusal_of(member: Member, digest: str) -> Refused | None:
    """Why a version is not tried: it was refused at the generation that the table speaks of."""
    return next(
        (one for one in member.refused if one.digest == digest and one.generation >= member.generation), None
    )


def _carried(before: Member, asked: Asked) -> Member:
    """What the spec asks for now, with the versions as they are in the table."""
    wanted = asked.wanted
    at_target = wanted.target.digest == before.target.digest
    # A generation that is lower is another life of the SubModel.
    same_life = wanted.generation >= before.generation
    same_spec = same_life and bool(before.asked) and before.asked == wanted.asked
    return wanted.model_copy(
        update={
            # Of one digest, the files and threads may be newer ones.
            "target": wanted.target if at_target else before.target,
            "max_concurrency": wanted.max_concurrency if at_target else before.max_concurrency,
            "rollout": _refreshed(before.rollout, asked, held=is_held(before)) if before.rollout else None,
            "proved": before.proved,
            "refused": before.refused if same_life else (),
            "generation": before.generation if same_spec else wanted.generation,
        }
    )


def _refreshed(rollout: Rollout, asked: Asked, *, held: bool = False) -> Rollout:
    """The rollout with what the policy says now; `held` where it is none but that of the stable version."""
    policy, wanted = asked.policy, asked.wanted.target
    return rollout.model_copy(
        update={
            "candidate": wanted if wanted.digest == rollout.candidate.digest else rollout.candidate,
            "generation": min(rollout.generation, asked.wanted.generation),
            "deadline_seconds": policy.progress_deadline_seconds,
            "recreate": policy.type is RolloutType.RECREATE,
            "min_agreement": policy.gate.min_agreement,
            "paused": policy.paused or held,
        }
    )


def _changed(member: Member, rollout: Rollout | None) -> Member:
    return member.model_copy(update={"rollout": rollout})


def _without_rollout(kept: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    wanted = asked.wanted.target
    if wanted.digest == kept.target.digest:
        return _at_rest(kept, asked, heard, now)
    refused = refusal_of(kept, wanted.digest)
    if refused is not None:
        because = f"version {name_of(wanted)} is refused ({refused.reason}: {refused.message})"
        return Decision(kept, Phase.REFUSED, f"{because}; {name_of(kept.target)} stays")
    lost, useless = _nothing_to_lose(kept, heard), asked.useless or _needs_new_pods(kept, asked)
    if asked.policy.paused and not lost and not useless:
        because = f"version {name_of(wanted)} waits: the rollout is paused"
        return Decision(kept, Phase.PAUSED, because)
    if lost or useless or not asked.replicas:
        return take_at_once(kept, asked, heard, now)
    if asked.new_pods or not heard:
        # They load what is known to be good; what is asked for is tried beside it.
        because = f"version {name_of(wanted)} waits until new pods answer with {name_of(kept.target)}"
        return Decision(kept, Phase.WAITING, because)
    return advance(_changed(kept, _begun(kept, asked, now)), asked, heard, now)


def _at_rest(kept: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    wanted = asked.wanted.target
    if len(strangers(kept, heard)) > asked.policy.max_unavailable:
        return take_at_once(kept, asked, heard, now)
    if any(one.answers(wanted.digest) and not one.answers_wholly(wanted.digest) for one in heard):
        return Decision(kept, Phase.RETURNING, f"replicas go back to version {name_of(wanted)}")
    return Decision(_proved_by(kept, asked, heard), Phase.REST, "the stable version is the wanted one")


def _needs_new_pods(kept: Member, asked: Asked) -> bool:
    """Whether new pods come that hold the asked version, and could not hold the stable one: of another number
    of devices, or without its claim. No pause keeps such pods from coming."""
    stable, wanted = kept.target, asked.wanted.target
    claimed = stable.storage_uri.startswith("pvc://") and stable.storage_uri != wanted.storage_uri
    return wanted.digest != stable.digest and (stable.engine.devices != wanted.engine.devices or claimed)


def _nothing_to_lose(kept: Member, heard: Sequence[Heard]) -> bool:
    """Whether the stable version never answered anywhere, or fails to load on every replica."""
    told = [one.version(kept.target.digest) for one in heard if one.counts]
    phases = [version.phase if version is not None else "" for version in told]
    if any(one.ready for one in heard) or "Loaded" in phases:
        return False
    return kept.target.digest not in kept.proved or (
        bool(phases) and all(phase == "FailedToLoad" for phase in phases)
    )


def _begun(kept: Member, asked: Asked, now: Moment) -> Rollout:
    begun = Rollout(
        candidate=asked.wanted.target,
        generation=kept.generation,
        share=first_share(asked.policy),
        since=rfc3339(now),
        step=rfc3339(now),
        deadline_seconds=asked.policy.progress_deadline_seconds,
    )
    return _refreshed(begun, asked)


def _proved_by(kept: Member, asked: Asked, heard: Sequence[Heard]) -> Member:
    """The member at rest; once all replicas answer with the stable version, it is remembered."""
    stable = kept.target.digest
    everybody = len(heard) >= max(1, asked.replicas) and all(one.answers_wholly(stable) for one in heard)
    if not everybody or stable in kept.proved:
        return kept
    return kept.model_copy(update={"proved": (*kept.proved, stable)[-MAX_REMEMBERED:]})


def _with_held(kept: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """Replicas that keep other versions are let go, or the stable version is another one again."""
    another = asked.wanted.target.digest != kept.target.digest
    if another and (not asked.policy.paused or _needs_new_pods(kept, asked)):
        return take_at_once(kept, asked, heard, now)
    decided = let_go(kept, asked, heard, now)
    over = decided.member.rollout is None
    return _without_rollout(decided.member, asked, heard, now) if over else decided


def _with_rollout(kept: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """A rollout that goes on, or is given up: aborted, overtaken by a newer version, or refused."""
    rollout, wanted = kept.rollout, asked.wanted.target
    if rollout is None:
        raise ValueError("a rollout that goes on is in the table")
    unwanted = rollout.candidate.digest != wanted.digest
    if unwanted and (asked.useless or _needs_new_pods(kept, asked)) and not refusal_of(kept, wanted.digest):
        return take_at_once(kept, asked, heard, now)
    refused = any(
        one.digest == rollout.candidate.digest and one.generation >= rollout.generation
        for one in kept.refused
    )
    decided = go_back(kept, asked, heard, now) if unwanted or refused else advance(kept, asked, heard, now)
    # What comes after a rollout that was given up comes in the same look.
    over = decided.phase is Phase.RETURNING and decided.member.rollout is None
    return _without_rollout(decided.member, asked, heard, now) if over else decided
