"""What each version has shown since it was loaded: requests, failures, and how long inferences took."""

from collections import deque

SPAN_SECONDS = 600.0
MAX_SAMPLES = 4096


class Tally:
    """Counts since the version was loaded; times of the last ten minutes, at most 4096."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self._samples: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)

    def answer(self, now: float, seconds: float) -> None:
        self.requests += 1
        self._samples.append((now, seconds))

    def fail(self) -> None:
        self.requests += 1
        self.failures += 1

    def quantiles(self, now: float) -> tuple[float, float]:
        """p50 and p95 in seconds; 0 where nothing was answered."""
        recent = sorted(seconds for at, seconds in self._samples if now - at <= SPAN_SECONDS)
        if not recent:
            return 0.0, 0.0
        return recent[len(recent) // 2], recent[min(len(recent) - 1, len(recent) * 95 // 100)]
