"""When a backend may be asked, as courses of events."""

import pytest

from fastserve.router.health import (
    OWN_PACE,
    PEER_PACE,
    Event,
    HealthState,
    Pace,
    probe_due,
    probing,
    spread,
    step,
)

A, F, L, U, S = Event.ANSWERED, Event.FAILED, Event.LATE, Event.UNREACHABLE, Event.SILENT


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
        ([A, S], "Ejected", False),
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


@pytest.mark.parametrize("pace", [OWN_PACE, PEER_PACE])
def test_one_that_stays_away_is_looked_at_less_and_less_often_up_to_a_bound(pace: Pace) -> None:
    state, now, pauses = step(step(HealthState(), A, 0.0, pace), U, 0.0, pace), 0.0, []
    for _ in range(8):
        pauses.append(state.probe_at - now)
        now = state.probe_at
        state = step(probing(state), U, now, pace)

    assert pauses[:3] == pytest.approx([0.25, 0.375, 0.5625])
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(pace.most)
    assert step(state, A, now, pace).probe_at == now + pace.idle


def test_requests_that_were_on_their_way_when_it_went_do_not_put_its_probe_off() -> None:
    gone = step(step(HealthState(), A, 0.0), U, 1.0)

    for event in (U, F, L, S):
        assert step(gone, event, 1.1) == gone


def test_who_lost_the_same_backend_does_not_look_at_it_at_the_same_moment() -> None:
    gone = step(step(HealthState(), A, 10.0), U, 10.0)

    moments = [spread(gone, 10.0, draw / 10.0).probe_at for draw in range(10)]
    assert len(set(moments)) == 10
    assert max(moments) == gone.probe_at
    assert min(moments) > 10.0 + 0.75 * 0.25
    ready = step(gone, A, 11.0)
    assert spread(ready, 11.0, 0.9) == ready
