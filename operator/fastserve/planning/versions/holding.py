"""A version that is the stable one from one look to the next, although replicas answer with others: because
it comes with new pods, or because nobody remembers what was stable (the table is lost).

These replicas are held: the table names them in a paused rollout of the stable version itself, so that each
keeps what it has. They are let go a few at a time. Pods that end by themselves, as new ones take their place,
are held until then. There is nothing to go back to, so a version that fails takes no more replicas with it
than may be away.
"""

from collections.abc import Sequence

from fastserve.api.routes import Member, Rollout
from fastserve.planning.moments import Moment, rfc3339
from fastserve.planning.versions.budget import room
from fastserve.planning.versions.words import Asked, Decision, Heard, Phase, counted, name_of


def is_held(member: Member) -> bool:
    """Whether replicas keep other versions than the stable one for a while."""
    rollout = member.rollout
    return rollout is not None and rollout.candidate.digest == member.target.digest


def strangers(member: Member, heard: Sequence[Heard]) -> list[Heard]:
    """Replicas that answer, and not with the stable version."""
    target = member.target.digest
    return [one for one in heard if one.ready and not one.silent and not one.answers(target)]


def take_at_once(kept: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """The asked version is the stable one now; who answers with another one keeps that until its turn."""
    wanted = asked.wanted.target
    keeping = [one.instance for one in heard if _keeps(one, wanted.digest) and not asked.useless]
    hold = Rollout(
        candidate=wanted,
        generation=kept.generation,
        named=tuple(keeping),
        since=rfc3339(now),
        step=rfc3339(now),
        deadline_seconds=asked.policy.progress_deadline_seconds,
        paused=True,
    )
    update = {"target": wanted, "max_concurrency": asked.wanted.max_concurrency, "rollout": hold}
    return let_go(kept.model_copy(update=update), asked, heard, now)


def let_go(member: Member, asked: Asked, heard: Sequence[Heard], now: Moment) -> Decision:
    """The next replicas that take the stable version, as many as there is room for; none in a pause."""
    rollout, digest = member.rollout, member.target.digest
    if rollout is None:
        raise ValueError("who is let go is held in the table")
    held = [one for one in heard if one.instance in rollout.named and _keeps(one, digest)]
    names = {one.instance for one in held}
    going = [
        one for one in heard if one.counts and one.instance not in names and not one.answers_wholly(digest)
    ]
    free = 0 if asked.policy.paused else room(asked, heard, going)
    let = {one.instance for one in [one for one in held if not (one.outgoing or one.silent)][:free]}
    named = tuple(one.instance for one in held if one.instance not in let)
    if named != rollout.named:
        rollout = rollout.model_copy(update={"named": named, "step": rfc3339(now)})
    staying = [one for one in held if not one.outgoing]
    waiting = Phase.PAUSED if asked.policy.paused else Phase.HOT_SWAP
    phase = waiting if staying else Phase.REST
    because = f"version {name_of(member.target)} takes the place of others"
    if named:
        because += f"; {counted(len(named), 'replica')} still {'has' if len(named) == 1 else 'have'} theirs"
    return Decision(member.model_copy(update={"rollout": rollout if named else None}), phase, because)


def _keeps(one: Heard, digest: str) -> bool:
    """Whether it still takes requests with another version: who is away loses nothing by going."""
    return one.ready and not one.answers_wholly(digest)
