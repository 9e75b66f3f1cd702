"""What each version has shown since it was loaded: requests, failures, and how long inferences took."""

from collections import deque

SPAN_SECONDS = 600.0
MAX_SAMPLES = 4096
NEARLY_ALL = 0.99
"""Fewer failures than this leaves are within any gate's figures in the long run."""
ABOUT = 0.5
"""A deadline that was at least this share as long was about as long."""


class Tally:
    """Counts since the version was loaded; times of the last ten minutes, at most 4096."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self._samples: deque[tuple[float, float, bool]] = deque(maxlen=MAX_SAMPLES)
        """When, seconds, and whether there was an answer then."""

    def answer(self, now: float, seconds: float) -> None:
        self.requests += 1
        self._samples.append((now, seconds, True))

    def fail(self) -> None:
        self.requests += 1
        self.failures += 1

    def late(self, now: float, seconds: float, *, failed: bool) -> None:
        """No answer within `seconds`: it takes longer than that, and left out it would look like less.
        `failed` is whether it should have answered by then."""
        self.requests += 1
        self.failures += failed
        self._samples.append((now, seconds, False))

    def quantiles(self, now: float) -> tuple[float, float]:
        """p50 and p95 in seconds; 0 where nothing was answered."""
        recent = sorted(seconds for at, seconds, _ in self._samples if now - at <= SPAN_SECONDS)
        if not recent:
            return 0.0, 0.0
        return recent[len(recent) // 2], recent[min(len(recent) - 1, len(recent) * 95 // 100)]

    def answers_within(self, seconds: float) -> bool:
        """Whether nearly all were answered within `seconds`, of those that were given about as long, however
        long ago; True where there were none."""
        within = sum(answered and took <= seconds for _, took, answered in self._samples)
        beyond = sum(took > (seconds if answered else ABOUT * seconds) for _, took, answered in self._samples)
        return beyond <= (1.0 - NEARLY_ALL) * (within + beyond)


class VersionTallies:
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
        """Whether the version that it is compared with nearly always answers within `seconds`: a caller that
        allows less is itself the reason why there was no answer. True where nothing is known of that one."""
        other = self._before if name == self._serves else self._serves
        known = self._tallies.get(other)
        return known is None or known.answers_within(seconds)
