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

    def late(self, now: float, seconds: float, *, failed: bool) -> None:
        """No answer within `seconds`: it takes longer than that, and left out it would look like less.
        `failed` is whether it should have answered by then."""
        self.requests += 1
        self.failures += failed
        self._samples.append((now, seconds))

    def quantiles(self, now: float) -> tuple[float, float]:
        """p50 and p95 in seconds; 0 where nothing was answered."""
        recent = sorted(seconds for at, seconds in self._samples if now - at <= SPAN_SECONDS)
        if not recent:
            return 0.0, 0.0
        return recent[len(recent) // 2], recent[min(len(recent) - 1, len(recent) * 95 // 100)]

    def nearly_all(self) -> float:
        """Seconds within which 99 of 100 ended, however long ago; 0 where none did."""
        taken = sorted(seconds for _, seconds in self._samples)
        return taken[min(len(taken) - 1, len(taken) * 99 // 100)] if taken else 0.0


class Tallies:
    """The tallies of one replica, by the versions' names in Triton."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._serves = self._before = ""

    def of(self, name: str) -> Tally:
        """What was counted of a version since it was loaded."""
        return self._tallies.setdefault(name, Tally())

    def loaded(self, name: str) -> None:
        """It was loaded anew."""
        self._tallies.pop(name, None)

    def serves(self, name: str) -> None:
        """It takes the place of the one that served before."""
        self.of(name)
        if name != self._serves:
            self._serves, self._before = name, self._serves

    def enough(self, name: str, seconds: float) -> bool:
        """Whether the version that it is compared with ends nearly always within `seconds`: a caller that
        allows less is the reason itself why there was no answer. True where nothing is known of that one."""
        other = self._before if name == self._serves else self._serves
        known = self._tallies.get(other)
        return known is None or seconds >= known.nearly_all()
