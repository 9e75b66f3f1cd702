"""What an answer of the API server means to us."""

import email.utils
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from fastserve.errors import ClusterError, Conflict, NotFound, Refused, Unreachable
from fastserve.foreign_json import ForeignReader, Unreadable

MAX_TEXT: Final = 1000
LONGEST_WAIT: Final = 10.0
"""Seconds that one call waits at most because a server asked for it; the work queue waits longer."""
MISFIT: Final = "failed to create typed patch object"
"""Begins what a server says, with a 500, of an apply whose fields its kind does not have: no fault of it."""
FULL: Final = "Internal error occurred: failed to allocate"
"""Begins what it says, with a 500 as well, of a Service when the cluster has no address left for it."""


_STATUS = ForeignReader(dict[str, object])


class Expired(Unreachable):
    """The server no longer knows the resourceVersion or the continue token: list again."""

    reason = "Expired"


class Invalid(Refused):
    """The server read the object that a write would make, and it breaks a rule of its kind."""

    reason = "Invalid"


_BY_STATUS: Final[Mapping[int, type[ClusterError]]] = {
    401: Unreachable,  # a token that just ended is renewed; the other two pass by themselves
    404: NotFound,
    408: Unreachable,
    409: Conflict,
    410: Expired,
    422: Invalid,
    429: Unreachable,
}


def failure_of(status: int, body: bytes) -> ClusterError:
    """The error for an answer with a `status` of 400 or more."""
    text = words_of(body) or HTTPStatus(status).phrase if status in set(HTTPStatus) else words_of(body)
    if status in _BY_STATUS:
        return _BY_STATUS[status](text)
    if status >= 500 and not text.startswith((MISFIT, FULL)):
        return Unreachable(f"{status}: {text}")
    return Refused(text)


def words_of(body: bytes) -> str:
    """The message of a Status, or the text as it came; shortened."""
    try:
        message = _STATUS.read(body).get("message", "")
    except Unreadable:
        return body.decode("utf-8", "replace").strip()[:MAX_TEXT]
    return message[:MAX_TEXT] if isinstance(message, str) else ""


def seconds_to_wait(headers: Mapping[str, str], now: datetime) -> float:
    """What Retry-After asks for, in seconds or as an HTTP date; 1 where it says nothing that is
    understood."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now)
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else 1.0


def _seconds_until(date: str, now: datetime) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return 1.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()
