"""How long a request will wait, and take, by what those before it took. Pure.

How long one takes depends on how many are inside: by much where each is computed for itself, by little where
they are computed as a batch. So both are remembered, and a straight line through them tells the rest. While
somebody waits, every place is taken, and Little's law gives the pace: as many leave as there are places in
the time that one takes.
"""

from dataclasses import dataclass

SMOOTHING = 1.0 / 16.0
"""Share of the newest in what is remembered: half of it is forgotten after eleven."""
LEAST_SPREAD = 0.25
"""Variance of how many were inside below which nothing is said of what that does."""
EASED = 0.95
"""Half as many inside help where an inference then takes less than this share of what it takes."""
STANDING_SECONDS = 0.1
STANDING_ROUNDS = 2.0
"""A queue that was never empty for so long, and so many times what an inference takes, does not absorb a
burst but stands: it delays everybody and helps nobody (CoDel, Nichols and Jacobson, 2012; 0.1 s is its
interval, and Facebook's in "Fail at Scale", 2015)."""
STILL_ROUNDS = 4.0
DOUBT_SECONDS = 1.5
"""While no answer came for so many times what one takes, and for so long at the most, a queue does not stand:
it waits for a server that is slow all at once, or dead, which is told within about a second."""
RIDGE = 4.0
"""Added to the variance of how many were inside (ridge regression): while it hardly varies, one slow answer
would make a line so steep that a burst is told to come again in minutes."""
STANDING_ROOM = 8
"""So many may wait in a queue that stands, or as many as are inside where that is more: a place that gets
free is taken at once, and a waiting request waits for about one inference."""


@dataclass(slots=True)
class Forecast:
    """All zero until something was seen. `moved_at` is when the last one ended, `answered_at` when one was
    answered; or when the first one began after a pause."""

    usual: float = 0.0
    """Mean of what an inference takes, seconds."""
    inside: float = 0.0
    """Mean of how many others were inside when it began."""
    error: float = 0.0
    """Mean of how far off `takes` was, seconds."""
    slope: float = 0.0
    """Seconds more for each that is inside."""
    spread: float = 0.0
    together: float = 0.0
    """Variance of how many were inside, and covariance with what an inference took."""
    moved_at: float = 0.0
    answered_at: float = 0.0

    def learn(self, seconds: float, inside: int) -> None:
        """One took `seconds`, with `inside` others there when it began."""
        if not self.usual:
            self.usual, self.inside = seconds, float(inside)
            return
        self.error += SMOOTHING * (abs(seconds - self.takes(inside)) - self.error)
        more, longer = inside - self.inside, seconds - self.usual
        self.inside += SMOOTHING * more
        self.usual += SMOOTHING * longer
        self.spread = (1.0 - SMOOTHING) * (self.spread + SMOOTHING * more * more)
        self.together = (1.0 - SMOOTHING) * (self.together + SMOOTHING * more * longer)
        self.slope = max(0.0, self.together / (self.spread + RIDGE)) if self.spread > LEAST_SPREAD else 0.0

    def learn_late(self, seconds: float, inside: int) -> bool:
        """One got no answer in `seconds`. Where that should have been enough it takes at least as long, and
        True is answered; else it says nothing: a caller may allow as little as it likes."""
        if seconds < self.takes(inside):
            return False
        self.learn(seconds, inside)
        return True

    def takes(self, inside: int) -> float:
        """Seconds of an inference that begins with so many others inside."""
        return max(0.0, self.usual + self.slope * (inside - self.inside))

    def needs(self, inside: int) -> float:
        """As `takes`, with what the forecast is usually off: with less than this left, do not begin."""
        return self.takes(inside) + self.error

    def eases(self) -> bool:
        """Whether an inference is shorter with half as many inside; as long as that is not known, it is."""
        if self.spread <= LEAST_SPREAD:
            return True
        return self.takes(int(self.inside / 2.0)) < EASED * self.usual

    def wait(self, ahead: int, places: int, now: float) -> float:
        """Seconds until a place for one with `ahead` others before it, all `places` taken. Where none has
        ended for longer than one takes, that is what one takes now."""
        if not self.usual:
            return 0.0
        return (ahead + 1) * max(self.takes(places - 1), now - self.moved_at) / places

    def stands(self, seconds: float, now: float) -> bool:
        """Whether a queue that was not empty for `seconds` is one that stands."""
        still = now - self.answered_at
        if self.usual and max(STANDING_SECONDS, STILL_ROUNDS * self.usual) < still < DOUBT_SECONDS:
            return False
        return seconds > max(STANDING_SECONDS, STANDING_ROUNDS * self.usual)
