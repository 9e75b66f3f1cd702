"""How long a request will wait, and take, by what those before it took. Pure.

While somebody waits, every place is taken, and Little's law gives the pace: `places` leave in the time that
one takes.
"""

from dataclasses import dataclass

SMOOTHING = 0.125
"""Share of the newest in the mean, as TCP smooths round trips (RFC 6298)."""
STANDING_SECONDS = 0.1
STANDING_ROUNDS = 2.0
"""A queue that was never empty for so long, and so many times what an inference takes, does not absorb a
burst but stands: it delays everybody and helps nobody (CoDel, Nichols and Jacobson, 2012; 0.1 s is its
interval, and Facebook's in "Fail at Scale", 2015)."""
STANDING_ROOM = 8
"""So many may wait in a queue that stands, or as many as are inside where that is more: a place that gets
free is taken at once, and a waiting request waits for about one inference."""


@dataclass(slots=True)
class Forecast:
    """`usual` is the mean of what an inference takes, seconds, and 0 where none was seen yet; `moved_at` is
    when the last one ended, or when the first one began after a pause."""

    usual: float = 0.0
    moved_at: float = 0.0

    def learn(self, seconds: float) -> None:
        """One was answered after `seconds`."""
        self.usual = self.usual + SMOOTHING * (seconds - self.usual) if self.usual else seconds

    def learn_late(self, seconds: float) -> None:
        """One got no answer in `seconds`: it takes at least as long."""
        if seconds > self.usual:
            self.learn(seconds)

    def takes(self, now: float) -> float:
        """What an inference takes while some are running: what it usually does, or longer where none has
        ended for longer."""
        return max(self.usual, now - self.moved_at) if self.usual else 0.0

    def wait(self, ahead: int, places: int, now: float) -> float:
        """Seconds until a place for one with `ahead` others before it, all `places` taken."""
        return (ahead + 1) * self.takes(now) / places

    def stands(self, seconds: float) -> bool:
        """Whether a queue that was not empty for `seconds` is one that stands."""
        return seconds > max(STANDING_SECONDS, STANDING_ROUNDS * self.usual)
