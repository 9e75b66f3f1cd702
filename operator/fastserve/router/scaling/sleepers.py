"""Which sub-models sleep, so that requests for them wait and wake them. Pure."""

from fastserve.api.scaling import Staff

WAKING_SECONDS = 90.0
WAKING_LOADS = 3.0
"""One that is woken is waited for as long as this, or so many times what its last load took."""


def sleeps(
    staff: Staff | None, *, ready: bool, woken_at: float | None, load_seconds: float, now: float
) -> bool:
    """Whether requests are held for a sub-model: it is to have no replica, or it had none until `woken_at`
    and is expected still. `load_seconds` is how long it took the last time, 0 where that is not known."""
    if staff is None or ready:
        return False
    if staff.replicas == 0:
        return True
    return woken_at is not None and now - woken_at < max(WAKING_SECONDS, WAKING_LOADS * load_seconds)


def due_in(*, woken_at: float | None, load_seconds: float, now: float) -> float:
    """Seconds until a sleeper is expected to be ready; 0 where nothing is known."""
    return max(0.0, load_seconds - (now - woken_at if woken_at is not None else 0.0))
