"""When a backend may be asked, as courses of events."""

import pytest

from fastserve.router.health import Event, HealthState, probe_due, probing, step

A, F, L, U = Event.ANSWERED, Event.FAILED, Event.LATE, Event.UNREACHABLE


@pytest.mark.parametrize(
    ("events", "health", "ready"),
    [
        ([], "Unknown", False),
        ([A], "Healthy", True),
        ([F], "Unknown", False),
        ([A, F], "Suspect", True),
        ([A, F, F], "Suspect", True),
        ([A, F, F, F], "Ejected", False),
        ([A, F, F, A, F], "Suspect", True),
        ([A, U], "Ejected", False),
        ([A, U, F], "Ejected", False),
        ([A, U, A], "Healthy", True),
        ([A, L, L, L, L], "Healthy", True),
        ([U], "Ejected", False),
    ],
)
def test_after_these_events_a_backend_is(events: list[Event], health: str, ready: bool) -> None:
    state = HealthState()
    for event in events:
        state = step(state, event, 0.0)

    assert (state.health, state.ready) == (health, ready)


@pytest.mark.parametrize(
    ("events", "due"), [([A], 10.6), ([A, F], 10.25), ([U], 10.25), ([A, L], 10.0), ([], 0.0)]
)
def test_the_next_probe_is_due_at(events: list[Event], due: float) -> None:
    state = HealthState()
    for event in events:
        state = step(state, event, 10.0)

    assert state.probe_at == due
    assert probe_due(state, due)
    assert not probe_due(state, due - 0.01)


def test_one_that_was_ejected_is_not_ready_while_its_probe_is_on_the_way() -> None:
    ejected = step(HealthState(), U, 0.0)

    assert probing(ejected).health == "Probing"
    assert not probing(ejected).ready
    assert step(probing(ejected), F, 1.0).health == "Ejected"
    assert step(probing(ejected), A, 1.0).ready
    assert probing(step(ejected, A, 1.0)).health == "Healthy"
