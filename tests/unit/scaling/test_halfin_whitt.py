"""How many replicas a load takes."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.scaling.staffing import LATE_SHARE, Server, late_share, replicas_for

SERVER = Server(40.0, 8)


@given(st.floats(0.1, 2000.0), st.floats(1.0, 1.5), st.floats(1.0, 10.0))
def test_more_load_never_takes_fewer(rate: float, factor: float, burst: float) -> None:
    fewer = replicas_for(rate, SERVER, 0.1, burst)
    assert replicas_for(rate * factor, SERVER, 0.1, burst) >= fewer


@given(st.floats(0.1, 2000.0), st.floats(0.001, 10.0))
def test_what_is_found_is_enough_and_one_less_is_not(rate: float, target: float) -> None:
    found = replicas_for(rate, SERVER, target)
    assert late_share(rate, found, SERVER, target) <= LATE_SHARE
    assert found == 1 or late_share(rate, found - 1, SERVER, target) > LATE_SHARE


def test_many_replicas_run_hotter_than_few() -> None:
    few, many = 30.0, 1200.0
    assert few / (replicas_for(few, SERVER, 0.1) * 40) < many / (replicas_for(many, SERVER, 0.1) * 40)


def test_nothing_takes_one() -> None:
    assert replicas_for(0.0, SERVER, 0.1) == 1


def test_burst_and_a_shorter_target_take_more() -> None:
    assert replicas_for(400.0, SERVER, 0.1, 8.0) > replicas_for(400.0, SERVER, 0.1)
    assert replicas_for(400.0, SERVER, 0.005) > replicas_for(400.0, SERVER, 1.0)


@pytest.mark.parametrize(("servers", "rho"), [(16, 0.8), (32, 0.9), (8, 0.7)])
def test_the_formula_is_near_what_a_queue_does(servers: int, rho: float) -> None:
    """M/M/n, simulated: the share that waits longer than a service time."""
    rng = random.Random(7)
    free, now, late, total = [0.0] * servers, 0.0, 0, 60_000
    for _ in range(total):
        now += rng.expovariate(servers * rho)
        first = min(range(servers), key=free.__getitem__)
        start = max(now, free[first])
        late += start - now > 0.2
        free[first] = start + rng.expovariate(1.0)
    told = late_share(servers * rho, 1, Server(float(servers), servers), 0.2)
    assert math.isclose(told, late / total, abs_tol=0.05)  # it is asymptotic: of few servers the least exact
