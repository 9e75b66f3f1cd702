"""decide(): how many replicas, given what was seen."""

import random
from dataclasses import replace
from itertools import pairwise
from math import pi, sin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS
from fastserve.scaling.decide import _Seen, decide
from fastserve.scaling.samples import Bounds, Sample, Standing
from scaling_world import START, decided, now_of, poisson, sample, steady

BOUNDS = Bounds(least=1, most=20)
ASLEEP = Bounds(least=0, most=20, idle_seconds=60.0)


def standing(replicas: int, **more: float) -> Standing:
    fields = {"ready": replicas, "load_seconds": 5.0, "limit": 8, "pace": 40.0, **more}
    return Standing(replicas, **fields)  # type: ignore[arg-type]


WAITED = st.sampled_from([0.0, 0.02, 0.07, 0.15, 0.9])


@given(
    st.lists(st.tuples(st.integers(0, 400), WAITED), min_size=60, max_size=120),
    st.integers(1, 10),
    st.floats(1.0, 5.0),
)
@settings(max_examples=60)
def test_more_of_the_same_load_never_takes_fewer(
    slots: list[tuple[int, float]], replicas: int, factor: float
) -> None:
    few = [sample(START + i * ROW_SECONDS, count, waited) for i, (count, waited) in enumerate(slots)]
    many = [sample(one.at, count * factor, waited) for one, (count, waited) in zip(few, slots, strict=True)]
    bounds = Bounds(least=1, most=1000)
    assert (
        decided(many, standing(replicas), bounds).replicas
        >= decided(few, standing(replicas), bounds).replicas
    )


@given(st.integers(0, 12), st.integers(0, 12), st.lists(st.integers(0, 900), max_size=60), st.integers(0, 30))
def test_bounds_hold_once_it_is_within(least: int, more: int, counts: list[int], replicas: int) -> None:
    bounds = Bounds(least=least, most=max(1, least + more))
    history = [sample(START + i * ROW_SECONDS, float(count)) for i, count in enumerate(counts)]
    now = now_of(history) if history else float(START)
    wish = decide(history, standing(replicas), bounds, now)
    assert wish.replicas <= bounds.most
    assert wish.replicas >= min(bounds.least, bounds.most)


@pytest.mark.parametrize("rate", [0.5, 3.0, 20.0, 55.0, 130.0, 390.0])
@pytest.mark.parametrize("seed", range(3))
def test_constant_load_does_not_flap(rate: float, seed: int) -> None:
    """An hour of Poisson arrivals: at most one change of direction."""
    rng, replicas, history = random.Random(seed), 4, list[Sample]()
    directions: list[int] = []
    for i in range(1800):
        history.append(sample(START + i * ROW_SECONDS, float(poisson(rng, rate * ROW_SECONDS))))
        history = history[-300:]
        wanted = decided(history, standing(replicas), BOUNDS).replicas
        if wanted != replicas:
            directions.append(1 if wanted > replicas else -1)
            replicas = wanted
    assert sum(a != b for a, b in pairwise(directions)) <= 1


def test_a_step_is_followed_within_seconds() -> None:
    history = steady(5.0, 120.0)
    history += [sample(START + 120 + i * ROW_SECONDS, 240.0) for i in range(2)]
    assert decided(history, standing(1), BOUNDS).replicas >= 4


def test_a_step_is_no_burst_against_itself() -> None:
    """The jump makes its own history look bursty; what came before tells how bursty it is."""
    history = steady(5.0, 60.0)
    history += [sample(START + 60 + i * ROW_SECONDS, 100.0) for i in range(2)]
    assert "40.0 requests/s" in decided(history, standing(1, pace=10.0, limit=2), BOUNDS).message


@pytest.mark.parametrize(("before", "after"), [(5.0, 25.0), (0.5, 50.0)])
def test_where_requests_wait_too_long_a_step_is_taken_at_its_word(before: float, after: float) -> None:
    """One jump to what serves it, not a replica at a time, nor twice as many for a burst that it is not."""
    slow = standing(2, pace=10.0, limit=2)
    enough = decided(steady(after, 60.0), slow, BOUNDS).replicas
    history = [*steady(before, 60.0), *steady(after, 2.0 * ROW_SECONDS, waited=0.9, start=START + 60)]
    wish = decided(history, slow, BOUNDS)
    assert (wish.replicas, wish.reason) == (enough, "Demand")


def test_after_a_pause_a_group_of_requests_is_no_sure_step() -> None:
    """Nothing is known of how bursty they are but what they show."""
    history = [*steady(0.0, 500.0), *steady(20.0, 2.0 * ROW_SECONDS, start=START + 500)]
    assert decided(history, standing(2, pace=10.0, limit=2), BOUNDS).replicas == 2


def test_what_would_be_called_back_for_waiting_is_not_ended() -> None:
    """Load falls, and the few that come still wait as if for a batch."""
    history = [*steady(50.0, 140.0), *steady(2.5, 10.0, waited=0.15, start=START + 140)]
    fewer = decided(history, standing(5), BOUNDS).replicas
    assert decided(history, standing(fewer), BOUNDS).replicas <= fewer


def test_long_waits_add_replicas_although_the_pace_is_not_known() -> None:
    wish = decided(steady(30.0, 60.0, waited=0.9), standing(2, pace=0.0), BOUNDS)
    assert (wish.replicas, wish.reason) == (3, "QueueWait")


def test_those_that_start_are_waited_for() -> None:
    wish = decided(steady(30.0, 60.0, waited=0.9), standing(3, ready=2, pace=0.0), BOUNDS)
    assert wish.replicas == 3


def test_what_waits_is_worked_off() -> None:
    history = [
        *steady(30.0, 60.0),
        sample(START + 60, 60.0, waiting=600.0),
        sample(START + 62, 60.0, waiting=600.0),
    ]
    wish = decided(history, standing(2), BOUNDS)
    assert (wish.replicas, wish.reason) == (3, "Backlog")


def test_fewer_only_after_the_delay() -> None:
    before = steady(130.0, 120.0)
    after = steady(3.0, 200.0, start=START + 120)
    changes = [
        i * ROW_SECONDS
        for i in range(1, len(after))
        if decided([*before, *after[:i]], standing(5), BOUNDS).replicas < 5
    ]
    assert 60.0 <= changes[0] <= 90.0
    assert decided([*before, *after], standing(5), BOUNDS).reason == "Eased"


def test_what_has_just_come_is_not_answered_by_fewer() -> None:
    """A step that is half as old as what the most that came is the mean of."""
    history = [*steady(5.0, 200.0), *steady(23.0, 10.0, start=START + 200)]
    slow = standing(4, pace=10.0, limit=4)
    assert decided(history, slow, replace(BOUNDS, target_seconds=0.2)).replicas == 4


@pytest.mark.parametrize(("waited", "replicas"), [(0.02, 2), (0.5, 5)])
def test_where_too_many_waited_the_whole_history_counts(waited: float, replicas: int) -> None:
    """A burst five minutes ago that was served in time is forgotten, one that was not is expected again."""
    history = [
        *steady(3.0, 200.0),
        *steady(130.0, 40.0, waited, start=START + 200),
        *steady(3.0, 300.0, start=START + 240),
    ]
    assert decided(history, standing(5), BOUNDS).replicas == replicas


@pytest.mark.parametrize(("since", "kept"), [(580.0, True), (640.0, False)])
def test_the_burst_that_was_late_is_forgotten_with_the_history(since: float, kept: bool) -> None:
    whole = [*steady(130.0, 40.0, 0.5), *steady(3.0, since, start=START + 40)]
    history = whole[-HISTORY_SECONDS // ROW_SECONDS :]
    assert (decided(history, standing(5), BOUNDS).replicas == 5) == kept


def test_one_scrape_ten_times_too_large_changes_nothing() -> None:
    rng = random.Random(5)
    history = [sample(START + i * ROW_SECONDS, float(poisson(rng, 100.0))) for i in range(300)]
    before = decided(history, standing(3), BOUNDS)
    history[-1] = sample(history[-1].at, 1000.0)
    assert decided(history, standing(3), BOUNDS).replicas == before.replicas == 3


def test_clusters_of_requests_are_no_step() -> None:
    """Ten at a time: what looks like a step among single requests is chance among these."""
    rng = random.Random(1)
    singles = [float(poisson(rng, 20.0)) for _ in range(120)]
    clusters = [10.0 * poisson(rng, 2.0) for _ in range(120)]
    late = [40.0] * 3
    rates = []
    for counts in (singles, clusters):
        history = [sample(START + i * ROW_SECONDS, count) for i, count in enumerate([*counts, *late])]
        rates.append(_Seen(history, standing(2), BOUNDS, now_of(history)).rate)
    assert rates[1] < rates[0]


def test_a_replica_that_loads_long_is_kept_longer() -> None:
    history = [*steady(130.0, 300.0), *steady(3.0, 100.0, start=START + 300)]
    assert decided(history, standing(5), BOUNDS).replicas == 1
    assert decided(history, standing(5, load_seconds=60.0), BOUNDS).replicas == 5


def test_without_a_known_pace_it_goes_down_one_at_a_time() -> None:
    assert decided(steady(3.0, 200.0), standing(5, pace=0.0), BOUNDS).replicas == 4


class TestMissing:
    def test_nothing_seen_changes_nothing(self) -> None:
        wish = decide([], standing(3), ASLEEP, 0.0)
        assert (wish.replicas, wish.reason) == (3, "MetricsMissing")

    def test_old_data_changes_nothing(self) -> None:
        history = steady(400.0, 100.0)
        wish = decide(history, standing(1), BOUNDS, now_of(history) + 11.0)
        assert (wish.replicas, wish.reason) == (1, "MetricsMissing")

    def test_a_source_that_is_late_by_nature_is_not_old(self) -> None:
        history = steady(400.0, 100.0)
        wish = decide(history, standing(1, lag=30.0), BOUNDS, now_of(history) + 11.0)
        assert wish.reason == "Demand"

    @given(st.integers(0, 99), st.integers(1, 6))
    def test_a_hole_never_leads_to_zero(self, first: int, length: int) -> None:
        history = steady(0.0, 200.0)
        del history[first : first + length]
        wish = decided(history, standing(1), replace(ASLEEP, idle_seconds=200.0))
        assert wish.replicas == 1

    def test_with_a_part_there_is_a_way_up_and_none_down(self) -> None:
        partial = [replace(one, heard=0.5) for one in steady(0.0, 300.0)]
        wish = decided(partial, standing(3), ASLEEP)
        assert (wish.replicas, wish.reason) == (3, "MetricsPartial")
        loaded = [replace(one, heard=0.5) for one in steady(300.0, 300.0)]
        assert decided(loaded, standing(3), BOUNDS).replicas > 3

    def test_a_short_history_leads_up_and_not_down(self) -> None:
        assert decided(steady(1.0, 20.0), standing(5), BOUNDS).reason == "Starting"
        assert decided(steady(300.0, 20.0), standing(5), BOUNDS).replicas > 5


class TestZero:
    def test_the_idle_go_to_sleep(self) -> None:
        wish = decided(steady(0.0, 62.0), standing(1), ASLEEP)
        assert (wish.replicas, wish.reason) == (0, "Idle")

    def test_one_request_within_the_time_keeps_it_awake(self) -> None:
        history = [*steady(0.0, 20.0), sample(START + 20, 1.0), *steady(0.0, 50.0, start=START + 22)]
        assert decided(history, standing(1), ASLEEP).replicas == 1

    def test_what_either_book_tells_keeps_it_awake(self) -> None:
        history = steady(0.0, 62.0)
        history[10] = replace(history[10], arrivals_high=1.0)
        assert decided(history, standing(1), ASLEEP).replicas == 1

    def test_one_that_does_not_answer_yet_does_not_go_to_sleep(self) -> None:
        assert decided(steady(0.0, 62.0), standing(1, ready=0), ASLEEP).replicas == 1

    def test_held_requests_wake_it_with_and_without_a_history(self) -> None:
        for history in (steady(0.0, 62.0), []):
            wish = decide(history, standing(0, held=3.0), ASLEEP, START + 62.3)
            assert (wish.replicas, wish.reason) == (1, "Woken")

    def test_many_held_requests_wake_more(self) -> None:
        assert decide([], standing(0, held=1000.0), ASLEEP, float(START)).replicas == 3

    def test_a_sleeper_sleeps_on(self) -> None:
        wish = decided(steady(0.0, 62.0), standing(0), ASLEEP)
        assert (wish.replicas, wish.reason) == (0, "Asleep")

    def test_the_least_wakes_a_sleeper(self) -> None:
        assert decided(steady(0.0, 62.0), standing(0), BOUNDS).replicas == 1


def test_without_a_node_there_is_no_growth() -> None:
    wish = decided(steady(400.0, 100.0), standing(3, ready=2, unplaced=1), BOUNDS)
    assert (wish.replicas, wish.reason) == (3, "Unplaced")


def test_at_most() -> None:
    wish = decided(steady(4000.0, 100.0), standing(20), BOUNDS)
    assert (wish.replicas, wish.reason) == (20, "AtMost")


def test_the_message_has_the_numbers() -> None:
    wish = decided(steady(130.0, 100.0), standing(1), BOUNDS)
    assert "130.0 requests/s at 40.0 per replica" in wish.message


def test_where_no_pace_is_known_one_goes_after_as_many_did_it_easily_for_a_minute() -> None:
    """Just after one was ended nothing is known of those that stay, though all told up to now."""
    history, unknown = steady(2.0, 120.0), standing(2, pace=0.0)
    three = [replace(one, replicas=3) for one in history]
    assert decided(three, standing(3, pace=0.0), BOUNDS).replicas == 2
    two = [replace(one, replicas=2) for one in history]
    for seen in range(30):
        assert decided(three[: 60 - seen] + two[60 - seen :], unknown, BOUNDS).replicas == 2
    assert decided(two, unknown, BOUNDS).replicas == 1


def test_a_pace_that_nobody_knows_is_seen_while_requests_wait() -> None:
    """40 come a second and 20 are worked off by the one replica: three, and one more for what waits."""
    history = steady(1.0, 60.0)
    history += [sample(START + 60 + 2 * i, 80.0, waiting=40.0 * (i + 1)) for i in range(4)]
    wish = decided(history, standing(1, pace=0.0), BOUNDS)
    assert 3 <= wish.replicas <= 7
    assert wish.reason in ("Demand", "Backlog")


def test_batches_that_wait_for_the_one_before_tell_no_pace() -> None:
    """Thirty a second in two replicas, of which nobody knows what they can do: three wait at any time."""
    history = [replace(one, waiting=3.0) for one in steady(30.0, 120.0, waited=0.04)]
    assert decided(history, standing(2, pace=0.0), BOUNDS).replicas <= 2


def test_what_stirs_by_its_own_word_does_not_go_to_sleep() -> None:
    assert decided(steady(0.0, 62.0), standing(1, stirred=True), ASLEEP).replicas == 1


def test_what_is_not_proved_yet_does_not_go_to_sleep() -> None:
    """Nobody would prove it then, and its pool would wait for that for ever."""
    history = steady(0.0, 200.0)
    assert decided(history, standing(1), ASLEEP).replicas == 0
    assert decided(history, replace(standing(1), proved=False), ASLEEP).replicas == 1


def test_nothing_goes_to_sleep_on_what_is_late_by_nature() -> None:
    late = decided(steady(0.0, 62.0), standing(1, lag=60.0), ASLEEP)
    assert late.replicas == 1
    assert "load is told 60 s late, and nothing goes to sleep where that is more than 30 s" in late.message


@given(
    st.lists(st.tuples(st.integers(2, 40), st.integers(0, 300), WAITED), min_size=2, max_size=4),
    st.integers(1, 10),
    st.floats(0.0, 60.0),
)
@settings(max_examples=60)
def test_what_was_just_ended_is_not_called_back(
    phases: list[tuple[int, int, float]], replicas: int, delay: float
) -> None:
    """Whatever came, and however short the delay: with fewer replicas the same history asks for no more."""
    slots = [(count, waited) for slots, count, waited in phases for _ in range(slots)]
    history = [sample(START + i * ROW_SECONDS, count, waited) for i, (count, waited) in enumerate(slots)]
    bounds = replace(BOUNDS, down_delay_seconds=delay)
    fewer = decided(history, standing(replicas, load_seconds=0.0), bounds).replicas
    if fewer < replicas:
        assert decided(history, standing(fewer, load_seconds=0.0), bounds).replicas <= fewer


def batches(rate: float, waited: float, takes: float) -> list[Sample]:
    """A constant rate; each waits so long for its batch, which takes so long."""
    return [
        replace(one, busy_seconds=rate * ROW_SECONDS * takes) for one in steady(rate, 200.0, waited=waited)
    ]


def test_what_waits_for_the_batch_before_keeps_no_more_than_half_busy_replicas() -> None:
    """A batch takes longer than the target: with more of them requests would wait for it too."""
    history = batches(30.0, waited=0.15, takes=0.2)
    fewer = decided(history, standing(12), BOUNDS)
    assert (fewer.replicas, fewer.reason) == (2, "Eased")
    assert decided(history, standing(2), BOUNDS).replicas == 2


@pytest.mark.parametrize("replicas", [4, 12])
def test_what_waits_for_more_than_a_batch_is_believed_before_what_was_reckoned(replicas: int) -> None:
    """One does much less than was learnt of it: texts became longer."""
    history = batches(30.0, waited=0.5, takes=0.2)
    assert decided(history, standing(replicas), BOUNDS).reason == "QueueWait"
    near = batches(30.0, waited=0.09, takes=0.05)
    assert decided(near, standing(replicas), BOUNDS).replicas == replicas


@pytest.mark.parametrize("delay", [0.0, 10.0])
@pytest.mark.parametrize("rate", [20.0, 55.0, 130.0])
def test_nor_does_it_flap_with_a_short_delay(rate: float, delay: float) -> None:
    rng, replicas, history, changes = random.Random(3), 8, list[Sample](), 0
    for i in range(900):
        history.append(sample(START + i * ROW_SECONDS, float(poisson(rng, rate * ROW_SECONDS))))
        history = history[-300:]
        wish = decided(history, standing(replicas), replace(BOUNDS, down_delay_seconds=delay))
        changes += wish.replicas > replicas
        replicas = wish.replicas
    assert changes <= 1


def test_load_that_swings_by_a_few_percent_is_not_followed() -> None:
    history, replicas, changes = list[Sample](), 13, 0
    for i in range(900):
        rate = 400.0 * (1.0 + 0.04 * sin(2.0 * pi * i * ROW_SECONDS / 300.0))
        history.append(sample(START + i * ROW_SECONDS, rate * ROW_SECONDS))
        history = history[-300:]
        wanted = decided(history, standing(replicas), BOUNDS).replicas
        changes += wanted > replicas
        replicas = wanted
    assert changes <= 1
