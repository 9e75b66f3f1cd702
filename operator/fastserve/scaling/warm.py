"""Hours in which a sub-model stays warm."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastserve.api.scaling import Day, WarmWindow

DAYS = tuple(Day)


def warm_replicas(windows: Sequence[WarmWindow], now: float) -> int:
    """The least replicas at `now` (Unix time) by the windows that it lies in; 0 outside of all."""
    return max((one.replicas for one in windows if _holds(one, now)), default=0)


def _holds(window: WarmWindow, now: float) -> bool:
    local = datetime.fromtimestamp(now, UTC).astimezone(_zone(window.time_zone))
    minute = local.hour * 60 + local.minute
    start, end = _minute(window.start), _minute(window.end)
    if start < end:
        return start <= minute < end and _begins_on(window, local)
    if minute >= start:
        return _begins_on(window, local)
    return minute < end and _begins_on(window, local - timedelta(days=1))


def _begins_on(window: WarmWindow, day: datetime) -> bool:
    return not window.days or DAYS[day.weekday()] in window.days


def _minute(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    """UTC for one that this machine does not know: better warm at the wrong hour than not decided at all."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
