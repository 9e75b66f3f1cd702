"""The route table's carrier is bounded, so what is in it beside the specs is too: rollouts begin only as long
as they have room, and what was refused or proved once is forgotten before a pool would be rejected for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fastserve.api.routes import MAX_ROLLOUTS_BYTES, MAX_TABLE_BYTES, Member, RouteTable
from fastserve.planning.versions.deciding import refusal_of, without_idle_memory
from fastserve.planning.versions.gate import MAX_MESSAGE
from fastserve.planning.versions.words import Decision, Phase, name_of

NAME_BYTES = 64
"""Of one more instance that a rollout names: a pod's uid, or a name in local mode."""
REFUSAL_BYTES = MAX_MESSAGE + 256
SHORT_MESSAGE = 120
_NOT_FOR_DOORS = {"target", "max_concurrency", "rollout", "proved", "refused", "generation", "asked", "staff"}


@dataclass(frozen=True)
class Beginning:
    """A decision with the member as it was in the table, if it was, and how many replicas may be named."""

    before: Member | None
    decision: Decision
    replicas: int

    @property
    def begins(self) -> bool:
        was = self.before.rollout if self.before is not None else None
        return was is None and self.decision.member.rollout is not None


def fitted(decided: Mapping[str, Beginning], others: Iterable[Member] = ()) -> dict[str, Decision]:
    """The decisions, by name, with as many new rollouts as there is room for: the others wait. One may always
    begin. `others` are members of the table that nothing is decided on."""
    spent = sum(cost(one, 0) for one in others)
    spent += sum(cost(one.decision.member, one.replicas) for one in decided.values() if not one.begins)
    found = {}
    for name, one in sorted(decided.items()):
        more = cost(one.decision.member, one.replicas) if one.begins else 0
        if more and spent and spent + more > MAX_ROLLOUTS_BYTES:
            found[name] = _waiting(one)
        else:
            found[name], spent = one.decision, spent + more
    return found


def cost(member: Member, replicas: int) -> int:
    """Bytes that the rollout of a member may come to take, until it is over or refused; 0 without one."""
    rollout = member.rollout
    if rollout is None:
        return 0
    unnamed = max(0, replicas - len(rollout.named))
    return len(rollout.model_dump_json().encode()) + unnamed * NAME_BYTES + REFUSAL_BYTES


def _waiting(one: Beginning) -> Decision:
    member, before = one.decision.member, one.before
    if before is None:
        # Nothing is known of what replicas answer with, so that there is nothing to leave in the table.
        return replace(one.decision, member=without_idle_memory(member.model_copy(update={"rollout": None})))
    stable = {"target": before.target, "max_concurrency": before.max_concurrency, "rollout": None}
    wanted = member.rollout.candidate if member.rollout is not None else member.target
    because = (
        f"version {name_of(wanted)} waits: other rollouts fill the room that the route table has for them"
    )
    return Decision(without_idle_memory(member.model_copy(update=stable)), Phase.WAITING, because)


def remembering_less(table: RouteTable) -> RouteTable:
    """The table with as much memory of versions as fits beside the specs; the more is forgotten the less room
    there is."""
    for forget in (_what_is_over, _words):
        if len(table.model_dump_json().encode()) <= MAX_TABLE_BYTES + MAX_ROLLOUTS_BYTES:
            return table
        table = table.model_copy(update={"members": tuple(forget(one) for one in table.members)})
    return table


def _what_is_over(member: Member) -> Member:
    """Without what no decision asks for any more, and without long words."""
    stable = member.target.digest
    refused = [one for one in member.refused if refusal_of(member, one.digest)]
    short = [one.model_copy(update={"message": one.message[:SHORT_MESSAGE]}) for one in refused]
    proved = (stable,) if stable in member.proved else ()
    update = {"proved": proved, "refused": tuple(short)}
    return without_idle_memory(member.model_copy(update=update))


def _words(member: Member) -> Member:
    refused = tuple(one.model_copy(update={"message": ""}) for one in member.refused)
    return member.model_copy(update={"refused": refused})


def without_versions(table: RouteTable) -> list[object]:
    """What the table says beside the versions and replicas of its members and the operator's key, which is
    another one for each process and concerns no caller; to be compared."""
    members = [one.model_dump(exclude=_NOT_FOR_DOORS) for one in table.members]
    return [table.model_dump(exclude={"members": True, "access": {"operator_digest"}}), members]
