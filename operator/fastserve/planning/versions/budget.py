"""How many replicas may be made to exchange now: ``maxUnavailable`` is about all that are away, whoever sent
them away."""

from collections.abc import Sequence

from fastserve.planning.versions.words import Asked, Heard


def room(asked: Asked, heard: Sequence[Heard], going: Sequence[Heard]) -> int:
    """How many replicas that take requests may begin to exchange, beside those that are `going`: these may
    leave at any moment. Replicas that are not there, not ready, ejected or being evicted count as away."""
    may_be_away = asked.policy.max_unavailable
    staying = sum(one.ready for one in heard) - sum(one.ready for one in going)
    return max(0, min(may_be_away - len(going), staying - (asked.replicas - may_be_away)))


def room_by_our_hand(asked: Asked, going: Sequence[Heard]) -> int:
    """The same where those that are away for other reasons were waited for long enough."""
    return max(0, asked.policy.max_unavailable - len(going))
