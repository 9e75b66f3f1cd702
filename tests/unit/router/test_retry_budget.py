"""What may be asked twice, and how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.errors import BackendError, BackendOverloaded, BackendTimeout, BackendUnavailable
from fastserve.router.hedging import MIN_SAMPLES, hedge_after
from fastserve.router.latency import Latencies
from fastserve.router.retrying import AT_LEAST, SLOTS, Budget, worth_elsewhere


@pytest.mark.parametrize(
    ("error", "usually", "on_trial"),
    [
        (BackendUnavailable("gone"), True, True),
        (BackendOverloaded("full"), True, True),
        (BackendError("EngineFailed"), False, True),
        (BackendTimeout("late"), False, False),
    ],
)
def test_another_replica_is_worth_asking_after(error: BackendError, usually: bool, on_trial: bool) -> None:
    assert worth_elsewhere(error, trial=False) is usually
    assert worth_elsewhere(error, trial=True) is on_trial


def test_a_share_of_none_allows_none_and_few_calls_allow_three() -> None:
    none, few = Budget(), Budget()
    for budget in (none, few):
        budget.called(0.0)

    assert not none.take(0.0, 0.0)
    assert [few.take(0.0, 0.2) for _ in range(AT_LEAST + 1)] == [True, True, True, False]


def test_what_was_spent_comes_back_after_ten_seconds() -> None:
    budget = Budget()
    for _ in range(AT_LEAST):
        assert budget.take(0.5, 0.2)

    assert not budget.take(SLOTS - 0.5, 0.2)
    assert budget.take(SLOTS + 0.5, 0.2)


EVENTS = st.lists(st.tuples(st.booleans(), st.floats(0.0, 2.0)), max_size=400)


@given(EVENTS, st.sampled_from([0.05, 0.1, 0.2]))
def test_extra_calls_never_exceed_the_share_of_any_window(
    events: list[tuple[bool, float]], share: float
) -> None:
    budget, now = Budget(), 0.0
    calls: list[float] = []
    extra: list[float] = []
    for is_call, passed in events:
        now += passed
        if is_call:
            calls.append(now)
            budget.called(now)
        elif budget.take(now, share):
            extra.append(now)
            # Slots are whole seconds: a window of them is up to ten seconds long.
            start = int(now) - SLOTS + 1
            spent = sum(1 for at in extra if int(at) >= start)
            assert spent <= max(AT_LEAST, share * sum(1 for at in calls if int(at) >= start))


@given(st.integers(100, 2000))
def test_when_everything_fails_at_most_a_fifth_more_is_asked(calls: int) -> None:
    budget, extra = Budget(), 0
    for i in range(calls):
        budget.called(i / 100.0)
        extra += budget.take(i / 100.0, 0.2)

    assert (calls + extra) / calls <= 1.2


def test_a_second_replica_is_asked_after_what_95_of_100_answers_took() -> None:
    latencies = Latencies()
    for i in range(MIN_SAMPLES - 1):
        latencies.add(float(i))
    assert hedge_after(latencies) is None

    for i in range(1000):
        latencies.add((i % 100) / 1000.0)
    assert hedge_after(latencies) == pytest.approx(0.095, abs=0.003)


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=600))
def test_a_percentile_is_among_the_last_answers_and_no_more_than_sixteen_answers_old(
    seconds: list[float],
) -> None:
    latencies = Latencies()
    for i, one in enumerate(seconds):
        latencies.add(one)
        told = latencies.percentile(0.99)
        assert told in seconds[max(0, i - 256 - 16) : i + 1]
    assert latencies.percentile(1.0) == max(seconds[-256:])
