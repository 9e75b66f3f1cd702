"""Times as Kubernetes writes them: RFC 3339, UTC, whole seconds."""

from datetime import UTC, datetime

Moment = datetime | str


def rfc3339(moment: Moment) -> str:
    """``2026-11-21T06:50:08Z``; a text is taken as it is."""
    if isinstance(moment, str):
        return moment
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_between(earlier: str, later: Moment) -> float:
    """Seconds from one moment to another, 0 where either cannot be read or they are the wrong way round."""
    try:
        start = datetime.fromisoformat(earlier)
        end = datetime.fromisoformat(later) if isinstance(later, str) else later
        return max(0.0, (end - start).total_seconds())
    except (TypeError, ValueError):
        return 0.0
