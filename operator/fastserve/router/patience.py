"""How long a caller may take: to send a head, to send a body, to read the answer, to do nothing. Pure."""

from fastserve.router.answers import Refusal

HEAD_SECONDS = 10.0
"""Within which a request's head must have arrived, and after which its body must keep to the least rate."""
LEAST_RATE = 1024
"""Bytes of a body per second."""
ANSWER_SECONDS = 30.0
"""Within which a caller must take what was written, as far as it is beyond the kernel's buffers."""
IDLE_SECONDS = 75.0
"""After which an unused connection is closed; longer than our own clients keep theirs."""

LINGER_SECONDS = 2.0
"""After a refusal, so that it is read before the connection closes."""


def too_slow(waited: float, size: int) -> bool:
    """Whether a request that began `waited` seconds ago should have more than `size` bytes of its body."""
    return waited > HEAD_SECONDS + size / LEAST_RATE


def refusal_of_slowness() -> Refusal:
    least = f"its head within {HEAD_SECONDS:.0f} s, then {LEAST_RATE} bytes a second"
    return Refusal("RequestTimeout", f"the request arrives too slowly ({least})")
