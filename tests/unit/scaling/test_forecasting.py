"""A trend is used where it beats none."""

import random

from fastserve.scaling.forecasting import ahead, burst_of
from scaling_world import poisson


def test_a_ramp_is_continued() -> None:
    rates = [10.0 + 5.0 * i for i in range(30)]
    told = ahead(rates, 60.0)
    assert told is not None
    assert abs(told - (rates[-1] + 30.0)) < 1e-6


def test_noise_has_no_trend() -> None:
    rng = random.Random(3)
    trusted = sum(ahead([poisson(rng, 50) / 10 for _ in range(40)], 30.0) is not None for _ in range(50))
    assert trusted == 0


def test_a_short_history_tells_nothing() -> None:
    assert ahead([1.0, 2.0, 3.0], 10.0) is None
    assert ahead([], 10.0) is None


def test_a_ramp_down_never_goes_below_nothing() -> None:
    told = ahead([float(max(0, 60 - 3 * i)) for i in range(25)], 120.0)
    assert told is None or told >= 0.0


def test_poisson_counts_as_one_and_bursts_as_more() -> None:
    rng = random.Random(5)
    assert burst_of([poisson(rng, 40) for _ in range(300)]) < 1.5
    assert burst_of([0.0, 80.0] * 20) == 10.0
    assert burst_of([float(i) for i in range(100)]) == 1.0  # a trend is no burst
    assert burst_of([]) == 1.0
