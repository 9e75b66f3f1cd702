"""When to ask a second replica because the first one takes long. Pure.

Tail at Scale (Dean and Barroso, 2013): after the 95th percentile, so that one call in twenty is asked twice.
It pays most where the slower one can be told to stop, which Triton cannot; hence off unless it is asked for.
"""

from fastserve.router.latency import Latencies

SHARE = 0.95
MIN_SAMPLES = 20


def hedge_after(latencies: Latencies) -> float | None:
    """Seconds after which to ask a second replica; None while too little is known."""
    return latencies.percentile(SHARE) if len(latencies) >= MIN_SAMPLES else None
