"""How many are let in at once: found by trying, on backends that answer by a formula."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.admission.concurrency import (
    LOOK_JITTER,
    LOOK_SECONDS,
    Limit,
    Sample,
    Trial,
    next_limit,
    resized,
)

Pace = Callable[[int], float]
PLACES = 64


def batches_of(size: int) -> Pace:
    """Every batch takes 30 ms, whatever is in it."""
    return lambda inside: min(inside, size) / 0.030


def one_by_one(inside: int) -> float:
    return 50.0


def wears_off(inside: int) -> float:
    """Half of the best with four inside, and never quite the best."""
    return 400.0 * inside / (inside + 4.0)


def under_pressure(pace: Pace, limit: Limit, windows: int, noise: float = 0.0) -> list[Limit]:
    """The limits after each of so many windows in which somebody always waited."""
    dice, now, found = np.random.default_rng(0), 0.0, []
    for _ in range(windows):
        each = (1.0 + noise * (2.0 * dice.random() - 1.0)) / pace(limit.now)
        answers = next(n for n in range(1, 10_000) if limit.is_due(n, 0) or limit.is_lost(n, n * each))
        seconds = answers * each
        now += seconds
        limit = next_limit(limit, Sample(answers, 0, seconds, limit.now, True), now, dice.random())
        found.append(limit)
    return found


@pytest.mark.parametrize(
    ("pace", "least", "most"),
    [
        (batches_of(32), 32, 32),
        (batches_of(64), 64, 64),
        (batches_of(8), 8, 8),
        (one_by_one, 1, 1),
        (wears_off, 32, 64),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_fewest_are_let_in_that_give_nearly_all(pace: Pace, least: int, most: int, noise: float) -> None:
    last = under_pressure(pace, Limit.of(PLACES), 60, noise)[-20:]
    assert all(least <= limit.base <= most for limit in last)
    assert all(pace(limit.base) >= 0.9 * max(pace(n) for n in range(1, PLACES + 1)) for limit in last)


def test_looking_costs_little() -> None:
    pace = batches_of(32)
    limits = under_pressure(pace, Limit.of(PLACES), 2000)
    paces = [pace(limit.now) for limit in limits[50:]]
    assert np.mean(paces) >= 0.98 * pace(PLACES)


def test_a_step_down_that_halves_the_pace_is_given_up_within_a_few_batches() -> None:
    """Two at a time in 200 ms: with places for one batch alone each request would make one of its own."""
    limit = replace(Limit.of(4), now=2, pace=10.0, best=10.0, trial=Trial.DOWN)
    assert not limit.is_lost(15, 3.0)
    assert limit.is_lost(16, 3.2)
    assert not limit.is_lost(16, 2.0), "one batch less may be chance"
    given_up = next_limit(limit, Sample(16, 0, 3.2, 2, True), 100.0, 0.0)
    assert (given_up.now, given_up.trial, given_up.settling) == (4, Trial.NONE, True)
    assert not replace(limit, settling=True).is_lost(16, 3.2)
    assert not replace(limit, trial=Trial.NONE).is_lost(16, 3.2)


def test_a_backend_that_can_take_more_at_once_than_before_is_found_out() -> None:
    limit = under_pressure(one_by_one, Limit.of(PLACES), 60)[-1]
    assert limit.base == 1
    assert under_pressure(batches_of(32), limit, 60)[-1].base >= 32


def test_a_backend_that_is_five_times_slower_and_recovers_keeps_its_limit() -> None:
    pace = batches_of(32)
    limit = under_pressure(pace, Limit.of(PLACES), 60)[-1]
    slow = under_pressure(lambda inside: pace(inside) / 5.0, limit, 60)[-1]
    assert slow.base == 32
    assert under_pressure(pace, slow, 60)[-1].base == 32


def test_late_answers_halve_what_is_let_in_at_once_and_it_opens_only_later() -> None:
    limit = Limit.of(PLACES)
    assert limit.is_due(20, 10)
    assert not limit.is_due(200, 10)
    cut = next_limit(limit, Sample(10, 10, 1.0, 20, True), 100.0, 0.0)
    assert cut.now == cut.base == 10
    calm = next_limit(cut, Sample(100, 0, 1.0, 3, False), 101.0, 0.0)  # the first window shows the old limit
    assert next_limit(calm, Sample(100, 0, 1.0, 3, False), 102.0, 0.0).now == 10
    assert next_limit(calm, Sample(100, 0, 1.0, 3, False), 100.0 + LOOK_SECONDS, 0.0).base == 20


def test_a_limit_that_does_not_bind_is_opened_step_by_step() -> None:
    limit = under_pressure(one_by_one, Limit.of(PLACES), 60)[-1]
    for _ in range(8):
        limit = next_limit(limit, Sample(100, 0, 2.5, 1, False), 1000.0, 0.0)
    assert limit.now == PLACES


def test_the_next_look_comes_after_a_minute_and_some_chance() -> None:
    limits = under_pressure(batches_of(32), Limit.of(PLACES), 2000)
    first = next(at for at, limit in enumerate(limits) if limit.trial is Trial.NONE)
    looks = np.unique([limit.look_at for limit in limits[first:]])
    gaps = np.diff(looks)
    assert len(gaps) >= 3
    assert all(LOOK_SECONDS <= gap <= LOOK_SECONDS * (1.0 + LOOK_JITTER) + 2.0 for gap in gaps)
    assert len(np.unique(gaps.round(2))) == len(gaps)


SAMPLES = st.builds(
    Sample,
    st.integers(0, 500),
    st.integers(0, 500),
    st.floats(0.0, 100.0),
    st.integers(0, 500),
    st.booleans(),
)


@given(st.integers(1, 300), st.lists(st.tuples(SAMPLES, st.integers(1, 300) | st.none()), max_size=60))
def test_whatever_happens_the_limit_stays_between_one_and_the_places(
    places: int, happenings: list[tuple[Sample, int | None]]
) -> None:
    limit, now = Limit.of(places), 0.0
    for sample, changed in happenings:
        now += sample.seconds
        limit = next_limit(limit, sample, now, 0.5)
        assert 1 <= limit.now <= limit.places
        assert 1 <= limit.base <= limit.places
        if changed is not None:
            limit = resized(limit, changed)
            assert limit.places == changed
            assert 1 <= limit.now <= changed
