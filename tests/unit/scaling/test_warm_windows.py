"""Hours in which a sub-model stays warm."""

from datetime import UTC, datetime

import pytest

from fastserve.api.scaling import Day, WarmWindow
from fastserve.scaling.warm import warm_replicas


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


WORK = WarmWindow(start="08:00", end="18:00", days=(Day.MONDAY, Day.FRIDAY), replicas=2)
NIGHT = WarmWindow(start="22:00", end="02:00", days=(Day.FRIDAY,), replicas=3)


@pytest.mark.parametrize(
    ("moment", "replicas"),
    [
        ("2026-11-23T08:00", 2),  # a Monday
        ("2026-11-23T17:59", 2),
        ("2026-11-23T18:00", 0),
        ("2026-11-24T12:00", 0),
        ("2026-11-27T22:30", 3),  # a Friday
        ("2026-11-28T01:59", 3),
        ("2026-11-28T02:00", 0),
        ("2026-11-28T22:30", 0),
    ],
)
def test_windows_hold_on_their_days(moment: str, replicas: int) -> None:
    assert warm_replicas((WORK, NIGHT), at(moment)) == replicas


def test_a_window_is_in_its_own_time_zone() -> None:
    tokyo = WarmWindow(start="09:00", end="10:00", time_zone="Asia/Tokyo")
    assert warm_replicas((tokyo,), at("2026-11-23T00:30")) == 1
    assert warm_replicas((tokyo,), at("2026-11-23T09:30")) == 0


def test_a_zone_that_is_not_known_is_utc() -> None:
    window = WarmWindow(start="09:00", end="10:00", time_zone="Nowhere/Land")
    assert warm_replicas((window,), at("2026-11-23T09:30")) == 1
