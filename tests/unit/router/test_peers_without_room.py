"""What a peer's answer says of it: that it is gone, or that it has no room."""

import pytest

from fastserve.errors import (
    BackendAway,
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
)
from fastserve.router.answers import Refusal, error_answer, refusal_of
from fastserve.router.replicas import _peer_error
from fastserve.router.upstream import Reply


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("BodiesTooMany", BackendOverloaded),
        ("ConnectionsTooMany", BackendOverloaded),
        ("QueueFull", BackendOverloaded),
        ("MemberUnavailable", BackendAway),
        ("MemberLost", BackendLost),
        ("RouterStarting", BackendUnavailable),
        ("DeadlineExceeded", BackendTimeout),
        ("MembersFailed", BackendError),
        ("KeyForbidden", BackendError),
    ],
)
def test_one_that_is_only_full_is_not_taken_for_gone(reason: str, kind: type[BackendError]) -> None:
    """Who is gone is asked nothing until a probe; who is full is just asked less."""
    answer = error_answer(Refusal(reason, "why"))
    headers = {name.encode(): value.encode() for name, value in answer.headers}
    assert type(_peer_error(Reply(answer.status, headers, answer.body))) is kind


@pytest.mark.parametrize("again", [False, True])
def test_that_a_request_was_lost_twice_is_told_from_router_to_router(again: bool) -> None:
    answer = error_answer(refusal_of(BackendLost("why", again=again)))
    error = _peer_error(Reply(answer.status, {}, answer.body))
    assert isinstance(error, BackendLost)
    assert error.again is again
