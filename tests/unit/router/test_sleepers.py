"""Which sub-models sleep, and for how long one that is woken is waited for."""

import pytest

from fastserve.api.scaling import Staff
from fastserve.router.scaling.sleepers import due_in, sleeps

NONE, ONE = Staff(least=0, most=4, replicas=0), Staff(least=0, most=4, replicas=1)


@pytest.mark.parametrize(
    ("staff", "ready", "woken_at", "load_seconds", "now", "held"),
    [
        (None, False, None, 0.0, 100.0, False),
        (NONE, False, None, 0.0, 100.0, True),
        (NONE, True, None, 0.0, 100.0, False),
        (ONE, False, None, 0.0, 100.0, False),
        (ONE, False, 100.0, 0.0, 189.0, True),
        (ONE, False, 100.0, 0.0, 191.0, False),
        (ONE, False, 100.0, 60.0, 279.0, True),
        (ONE, False, 100.0, 60.0, 281.0, False),
        (ONE, True, 100.0, 60.0, 101.0, False),
    ],
    ids=[
        "it is not scaled",
        "it has no replica",
        "its last replica still answers",
        "it has one that is down",
        "it is being woken",
        "it was not ready in time",
        "it is known to take long",
        "it takes longer than even that",
        "it is awake",
    ],
)
def test_requests_are_held_where(
    *, staff: Staff | None, ready: bool, woken_at: float | None, load_seconds: float, now: float, held: bool
) -> None:
    assert sleeps(staff, ready=ready, woken_at=woken_at, load_seconds=load_seconds, now=now) is held


@pytest.mark.parametrize(
    ("woken_at", "load_seconds", "seconds"), [(None, 20.0, 20.0), (95.0, 20.0, 15.0), (50.0, 20.0, 0.0)]
)
def test_a_sleeper_is_due_when_its_last_load_would_be_over(
    woken_at: float | None, load_seconds: float, seconds: float
) -> None:
    assert due_in(woken_at=woken_at, load_seconds=load_seconds, now=100.0) == seconds
