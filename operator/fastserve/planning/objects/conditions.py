"""Conditions as metav1.Condition: made anew at every look, but for the time at which the status flipped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastserve.api.meta import Condition
from fastserve.planning.moments import Moment, rfc3339

MAX_MESSAGE = 1024
MAX_NAMED = 5
"""Names that one message lists."""


@dataclass(frozen=True)
class Statement:
    """One condition without its times. `reason` is PascalCase, `message` a sentence that stays the same
    as long as nothing changes."""

    type: str
    holds: bool
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Edition:
    """What all conditions of one status share: what was written before, the generation, the time."""

    before: Sequence[Condition]
    generation: int
    now: Moment


def conditions(statements: Iterable[Statement], edition: Edition) -> tuple[Condition, ...]:
    """The conditions, in the order of `statements`."""
    before = {condition.type: condition for condition in edition.before}
    return tuple(_condition(one, before.get(one.type), edition) for one in statements)


def _condition(one: Statement, before: Condition | None, edition: Edition) -> Condition:
    status = "True" if one.holds else "False"
    same = before is not None and before.status == status and before.last_transition_time
    return Condition(
        type=one.type,
        status="True" if one.holds else "False",
        reason=one.reason,
        message=shortened(one.message),
        observed_generation=edition.generation,
        last_transition_time=before.last_transition_time if before and same else rfc3339(edition.now),
    )


def find(written: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type."""
    return next((condition for condition in written if condition.type == kind), None)


def holds(written: Iterable[Condition], kind: str) -> bool:
    found = find(written, kind)
    return found is not None and found.status == "True"


def shortened(text: str, limit: int = MAX_MESSAGE) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """``a, b, c``; at most five of them, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - MAX_NAMED
    return ", ".join(ordered[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def with_pod(message: str, pod: str) -> str:
    """What went wrong first, since columns are cut off at their end; then in which pod, if in one."""
    return f"{message} (pod {pod})" if pod else message
