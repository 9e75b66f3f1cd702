"""How long answers take, learned from the last of them. Pure."""

from collections import deque

MAX_SAMPLES = 256
RENEWED_EVERY = 16
"""Answers after which a percentile is worked out anew."""


class Latencies:
    """Seconds of the last answers, and what they tell. `add` costs next to nothing."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._added = 0
        self._known: dict[float, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._added += 1

    def percentile(self, share: float) -> float:
        """The seconds that `share` of the last answers took at the most; 0 without any."""
        at, value = self._known.get(share, (-RENEWED_EVERY, 0.0))
        if self._added - at >= min(RENEWED_EVERY, max(1, at)):
            ordered = sorted(self._seconds)
            value = ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
            self._known[share] = (self._added, value)
        return value
