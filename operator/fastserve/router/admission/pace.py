"""How many requests per second are answered while others wait: what one Triton is able to. Pure.

Stretches in which somebody waits are counted from their begin to the last answer in them. Short ones are left
out: answers come in batches, and a stretch of less than a few batches would cut one in two.
"""

from dataclasses import dataclass
from math import exp

LEAST_SECONDS = 0.25
LEAST_ROUNDS = 4.0
"""A stretch counts where it lasts at least so long, and so many times what an inference takes."""
MEMORY_SECONDS = 30.0
"""Of such stretches; what lies further back counts e times less."""
ENOUGH_SECONDS = 1.0
ENOUGH_ANSWERS = 20
ENOUGH_ROUNDS = 2
"""Nothing is told before so long was seen, and so many answers or so many for each place."""


@dataclass(slots=True)
class Pace:
    """`seconds` and `answers` of all stretches, the older the less; `since`, `last` and `count` are of that
    which is under way."""

    seconds: float = 0.0
    answers: float = 0.0
    since: float = 0.0
    last: float = 0.0
    count: int = 0

    def begin(self, now: float, usual: float) -> None:
        """Somebody waits, and nobody did; an inference takes `usual` seconds."""
        self.learn(usual)
        self.broken_off(now)

    def answered(self, now: float) -> None:
        """One was answered while others waited."""
        self.last = now
        self.count += 1

    def broken_off(self, now: float) -> None:
        """One failed: how long that took tells nothing of how many could be answered."""
        self.since, self.last, self.count = now, now, 0

    def learn(self, usual: float) -> None:
        """Take over what the stretch told so far; what comes of it counts as the next one."""
        took = self.last - self.since
        if took < max(LEAST_SECONDS, LEAST_ROUNDS * usual):
            return
        kept = exp(-took / MEMORY_SECONDS)
        self.seconds = self.seconds * kept + took
        self.answers = self.answers * kept + self.count
        self.since, self.count = self.last, 0

    def per_second(self, places: int) -> float:
        """Answers per second; 0 where too little was seen to tell."""
        if self.seconds < ENOUGH_SECONDS or self.answers < min(ENOUGH_ANSWERS, ENOUGH_ROUNDS * places):
            return 0.0
        return self.answers / self.seconds
