"""What an engine says of its own last error, and what becomes of it."""

import pytest

from fastserve.api.engine import EngineReport
from fastserve.router.bookkeeping import Bookkeeping


@pytest.mark.parametrize(
    ("seconds", "time"),
    [(0.0, "1970-01-01T00:00:00Z"), (-1e300, "1970-01-01T00:00:00Z"), (1e300, "9999-12-31T00:00:00Z")],
)
def test_a_moment_that_is_none_is_told_as_the_nearest_one(seconds: float, time: str) -> None:
    report = EngineReport("Loaded", last_error_reason="RankDied", last_error_time=seconds)

    failure = Bookkeeping().last_failure(report)

    assert failure is not None
    assert (failure.reason, failure.time) == ("RankDied", time)
