"""Whom a router leaves out for how it answered, and how it comes back."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.outliers import (
    BASE_SECONDS,
    MOST_SECONDS,
    STREAK,
    TRIALS,
    Conduct,
    Fault,
    judge,
    seconds_out,
)

SERVICE = 0.01


def conducts(count: int) -> list[Conduct]:
    return [Conduct() for _ in range(count)]


def answer(one: Conduct, times: int, now: float = 0.0, service: float = SERVICE) -> None:
    for _ in range(times):
        one.answered(now, service, 0.0)


def fail(one: Conduct, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        one.failed(now)


def ejected(replicas: Sequence[Conduct]) -> list[bool]:
    return [one.ejected is not None for one in replicas]


def test_five_failures_in_a_row_are_enough_and_four_are_not() -> None:
    first, second = conducts(2)
    answer(first, 20)
    fail(first, STREAK - 1)
    assert judge([first, second], 0.5, 0.0) == []

    fail(first, 1)

    assert judge([first, second], 0.5, 0.0) == [(first, Fault.FAILS)]
    assert ejected([first, second]) == [True, False]


def test_of_25_requests_half_are_enough_however_many_were_well_before() -> None:
    first, second = conducts(2)
    answer(first, 1000)
    for _ in range(12):
        fail(first, 1)
        assert judge([first, second], 0.5, 0.0) == []
        answer(first, 1)

    fail(first, 1)

    assert judge([first, second], 0.5, 0.0) == [(first, Fault.FAILS)]


def test_what_a_replica_refuses_is_its_fault_where_others_answered_that_lately() -> None:
    first, second = conducts(2)
    for _ in range(50):
        first.refused(0.0)
        first.compared(others_answer=False)
    assert judge([first, second], 0.5, 0.0) == []

    for _ in range(2 + STREAK):
        first.refused(0.0)
        first.compared(others_answer=True)

    assert judge([first, second], 0.5, 0.0) == [(first, Fault.FAILS)]


def test_one_that_failed_for_long_while_nobody_could_be_left_out_is_soon_as_good_as_others() -> None:
    first, second = conducts(2)
    fail(first, 3000)
    assert judge([first], 0.5, 0.0) == []
    answer(first, 1)

    assert judge([first, second], 0.5, 0.0) == []


def test_a_refusal_is_no_failed_trial_unless_others_answer_it() -> None:
    first, second = conducts(2)
    fail(first, STREAK)
    judge([first, second], 0.5, 0.0)
    assert first.ejected
    first.on_trial = True
    first.refused(BASE_SECONDS)

    assert first.ejected.times == 1
    assert not first.on_trial


@pytest.mark.parametrize(
    ("service", "others", "fault"),
    [(0.5, 0.1, [Fault.SLOW]), (0.49, 0.1, []), (0.01, 0.001, []), (0.04, 0.001, [Fault.SLOW])],
)
def test_one_five_times_slower_than_the_others_and_by_more_than_the_way_there_is_slow(
    service: float, others: float, fault: list[Fault]
) -> None:
    first, second, third = conducts(3)
    answer(first, 5, service=service + 1e-9)
    answer(second, 5, service=others)
    answer(third, 5, service=others)

    assert [why for _, why in judge([first, second, third], 0.5, 0.0)] == fault


def test_slowness_is_not_judged_by_a_few_answers_nor_by_the_wait_that_the_replica_told() -> None:
    first, second = conducts(2)
    answer(second, 50)
    answer(first, 4, service=1.0)
    assert judge([first, second], 0.5, 0.0) == []

    busy, idle = conducts(2)
    answer(idle, 50)
    for _ in range(50):
        busy.answered(0.0, SERVICE, 2.0)
    assert judge([busy, idle], 0.5, 0.0) == []


def test_one_that_answers_nothing_by_the_deadline_is_slow() -> None:
    first, second = conducts(2)
    answer(second, 50)
    for _ in range(5):
        first.unanswered(0.0, 1.0)

    assert judge([first, second], 0.5, 0.0) == [(first, Fault.SLOW)]


def test_callers_that_go_early_do_not_make_a_slow_replica_look_quick() -> None:
    first, second = conducts(2)
    answer(second, 50)
    answer(first, 6, service=1.0)
    for _ in range(20):
        first.unanswered(0.0, 0.001)

    assert judge([first, second], 0.5, 0.0) == [(first, Fault.SLOW)]


def test_good_answers_make_up_for_failures_and_time_does_not() -> None:
    first, second, third = conducts(3)
    for one in (first, second):
        fail(one, 4)
    answer(second, 6, now=3600.0)
    for one in (first, second):
        fail(one, 1, now=3600.0)

    assert judge([first, second, third], 0.5, 3600.0) == [(first, Fault.FAILS)]


def test_having_no_room_is_no_failure() -> None:
    first, second = conducts(2)
    for _ in range(50):
        first.excused(0.0, 0.0)

    assert judge([first, second], 0.5, 0.0) == []


def test_it_comes_back_by_good_answers_after_its_time_and_by_nothing_else() -> None:
    first, second = conducts(2)
    fail(first, 5)
    judge([first, second], 0.5, 0.0)
    assert not first.trial_due(BASE_SECONDS - 0.1)
    answer(first, 10, now=1.0)  # asked before it was left out
    assert first.ejected

    assert first.trial_due(BASE_SECONDS)
    for _ in range(TRIALS):
        assert first.ejected
        first.on_trial = True
        assert not first.trial_due(BASE_SECONDS), "one trial at a time"
        answer(first, 1, now=BASE_SECONDS)
    assert first.ejected is None
    assert judge([first, second], 0.5, BASE_SECONDS) == []


def test_each_time_it_is_out_for_longer_up_to_a_minute_and_good_standing_is_forgiven() -> None:
    one = Conduct()
    fail(one, 5)
    judge([one, Conduct()], 0.5, 0.0)
    now, spans = 0.0, []
    for _ in range(15):
        assert one.ejected
        spans.append(one.ejected.until - now)
        now = one.ejected.until
        one.on_trial = True
        one.failed(now)
    assert spans == [seconds_out(n) for n in range(1, 16)]
    assert spans[-1] == MOST_SECONDS

    assert one.ejected
    now = one.ejected.until
    answer(one, TRIALS, now=now)
    assert one.ejected is None
    one.eject(Fault.FAILS, now + 1000.0, None)
    assert one.ejected.until - (now + 1000.0) == BASE_SECONDS


def test_a_slow_one_does_not_come_back_by_slow_answers() -> None:
    first, second = conducts(2)
    answer(second, 10)
    answer(first, 10, service=0.1)
    judge([first, second], 0.5, 0.0)

    answer(first, TRIALS, now=BASE_SECONDS, service=0.1)
    assert first.ejected
    assert first.ejected.fault is Fault.TRIAL
    answer(first, TRIALS, now=first.ejected.until, service=0.02)
    assert first.ejected is None


def test_the_longest_out_comes_back_where_fewer_may_be_out() -> None:
    replicas = conducts(4)
    for now, one in enumerate(replicas[:2]):
        fail(one, 5)
        judge(replicas, 0.5, float(now))
    assert ejected(replicas) == [True, True, False, False]

    judge(replicas[:3], 0.5, 3.0)

    assert ejected(replicas) == [False, True, False, False]


def test_what_a_replica_told_of_its_queue_counts_half_a_second_later() -> None:
    one = Conduct()
    one.answered(0.0, SERVICE, 1.0)

    told = one.queue(0.0)
    assert told > 0.0
    assert one.queue(1.0) == pytest.approx(told / 2)
    assert one.queue(30.0) < 1e-6


HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["answered", "slow", "failed", "unanswered", "excused", "judge"]),
        st.floats(0.0, 3.0),
    ),
    max_size=300,
)


@given(st.integers(1, 6), st.sampled_from([0.0, 0.2, 0.5, 0.99]), HAPPENINGS)
def test_whatever_happens_no_more_than_the_share_is_ever_left_out(
    count: int, share: float, happenings: list[tuple[int, str, float]]
) -> None:
    replicas, now = conducts(count), 0.0
    for which, what, passed in happenings:
        one, now = replicas[which % count], now + passed
        match what:
            case "answered":
                one.answered(now, SERVICE, 0.0)
            case "slow":
                one.answered(now, 1.0, 0.0)
            case "failed":
                fail(one, 5, now)
            case "unanswered":
                one.unanswered(now, 1.0)
            case "excused":
                one.excused(now, 1.0)
            case _:
                judge(replicas, share, now)
        assert sum(ejected(replicas)) <= share * count
        assert not all(ejected(replicas))


@given(st.integers(3, 20), st.integers(0, 19), st.floats(0.001, 1.0))
def test_a_constant_share_of_failures_below_half_ejects_nobody(every: int, first: int, step: float) -> None:
    replicas, now = conducts(2), 0.0
    for i in range(200):
        now += step
        for one in replicas:
            if (i + first) % every == 0:
                one.failed(now)
            else:
                one.answered(now, SERVICE, 0.0)
            assert judge(replicas, 0.5, now) == []


def test_one_that_fails_for_ever_is_asked_less_and_less_and_does_not_flap() -> None:
    bad, good = conducts(2)
    asked_bad, ejections = 0, 0
    for tick in range(10 * 600):  # ten minutes of ten requests a second
        now = tick / 10.0
        if bad.ejected is None or bad.trial_due(now):
            asked_bad += 1
            bad.on_trial = bad.ejected is not None
            bad.failed(now)
        good.answered(now, SERVICE, 0.0)
        ejections += len(judge([bad, good], 0.5, now))

    assert ejections == 1
    assert asked_bad < 30
