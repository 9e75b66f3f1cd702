"""When this router's own Triton last gave a sign, and when the lack of one is proof. Pure.

A Triton that is stopped accepts connections and answers nothing; one whose stub is dead answers that it is
live and ready. What tells them from one that is busy: whether anything at all was answered meanwhile.
"""

from collections import deque
from dataclasses import dataclass

from fastserve.router.latency import Latencies

SILENT_SECONDS = 1.0
"""Without any sign for so long, a server that does not say that it is live either is frozen."""
SHORTEST_SECONDS = 0.5
"""That a tiny inference may take; and what a server may need to say that it is live."""
UNKNOWN_SECONDS = 5.0
"""The same while no inference was seen."""
BUSY_SECONDS = 10.0
"""A full batch of the longest texts takes seconds where the last hundred answers took milliseconds. An engine
that speaks for itself, which watches its ranks and their time, is given as long as it says."""
TIMES_USUAL = 4.0
PROBES_KEPT, ENOUGH_PROBES = 8, 3
"""The first one after a start takes longer than all others."""


class Pulse:
    """Inferences under way and the signs of life; times are seconds of the loop's clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.begun = 0
        """Inferences since the start."""
        self.answers = 0
        """Of them."""
        self.latencies = Latencies()
        self.alone: deque[float] = deque(maxlen=PROBES_KEPT)
        """Seconds that probes took which nothing was in the way of."""
        self.probed_at: float | None = None
        """Since when a probe is under way."""
        self.since = 0.0
        """The last sign of life, or when something was asked after nothing had been."""

    def begin(self, now: float) -> None:
        if self.in_flight == 0:
            # Where a probe is under way, an answer has been owed since that began.
            self.since = max(self.since, now if self.probed_at is None else self.probed_at)
        self.in_flight += 1
        self.begun += 1

    def answered(self, now: float, seconds: float) -> None:
        """An inference that was under way was answered after `seconds`."""
        self.in_flight -= 1
        self.answers += 1
        self.since = now
        self.latencies.add(seconds)

    def failed(self) -> None:
        """One ended otherwise."""
        self.in_flight -= 1

    def sign(self, now: float) -> None:
        """A probe was answered."""
        self.since = max(self.since, now)

    def silence(self, now: float) -> float:
        """Seconds since the last sign while an answer is owed to a request or a probe; 0 where none is."""
        if self.in_flight:
            return now - self.since
        return now - max(self.probed_at, self.since) if self.probed_at is not None else 0.0

    @property
    def bound(self) -> float:
        """Seconds within which a tiny inference is answered when nothing is in its way."""
        usual = self._usual()
        return UNKNOWN_SECONDS if usual is None else max(SHORTEST_SECONDS, TIMES_USUAL * usual)

    @property
    def takes(self) -> float:
        """Seconds that a tiny inference takes by itself; 0 where that is not known yet."""
        return min(self.alone) if len(self.alone) >= ENOUGH_PROBES else 0.0

    @property
    def patience(self) -> float:
        """Seconds of silence under load after which it is time to ask."""
        return max(SILENT_SECONDS, TIMES_USUAL * (self._usual() or 0.0))

    def _usual(self) -> float | None:
        return self.latencies.percentile(0.99) if len(self.latencies) else None


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a Triton that owes an answer. `silence` is seconds since the last sign; `live` is
    whether it said within half a second that it is live, None where it was not asked meanwhile; `alone` is
    whether a probe waits that nothing can be in the way of; `vouched` that the engine said meanwhile that it
    is well; `bound` is the pulse's."""

    silence: float
    live: bool | None
    alone: bool
    vouched: bool
    bound: float


def is_silent(signs: Signs) -> bool:
    """Whether it is dead or frozen, as far as silence can tell."""
    if signs.live is False and signs.silence >= SILENT_SECONDS:
        return True
    if signs.alone:
        return signs.silence >= 2.0 * signs.bound
    return not signs.vouched and signs.silence >= max(BUSY_SECONDS, 2.0 * signs.bound)
