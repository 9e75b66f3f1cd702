"""The bounded queue before this router's own Triton: first come, first served, none past its deadline."""

import asyncio
from collections import deque
from dataclasses import dataclass

from fastserve.errors import BackendOverloaded, BackendTimeout

WINDOW_SECONDS = 60.0
MOST_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class WaitSummary:
    """Seconds waited over the last minute."""

    p50: float = 0.0
    p95: float = 0.0


class Gate:
    """At most `places` requests are inside at once and at most `max_waiting` wait for a place."""

    def __init__(self, places: int, max_waiting: int) -> None:
        self.places = places
        self.max_waiting = max_waiting
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._samples: deque[tuple[float, float]] = deque(maxlen=MOST_SAMPLES)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def resize(self, places: int, max_waiting: int) -> None:
        """Take over new bounds; who waits keeps the place in the queue."""
        self.places, self.max_waiting = places, max_waiting
        self._admit()

    async def enter(self, deadline: float) -> float:
        """Wait for a place until `deadline` (the loop's time); seconds waited.

        Raises BackendOverloaded where too many wait already, BackendTimeout at the deadline. Whoever got
        a place must call `leave`.
        """
        if self.in_flight < self.places and not self._waiting:
            self.in_flight += 1
            return 0.0
        if len(self._waiting) >= self.max_waiting:
            raise BackendOverloaded(
                f"{self.in_flight} requests run and {len(self._waiting)} wait (router.limits.maxQueue)"
            )
        return await self._wait(deadline)

    def leave(self) -> None:
        self.in_flight -= 1
        self._admit()

    def sample(self, now: float, waited: float) -> None:
        self._samples.append((now, waited))

    def summary(self, now: float) -> WaitSummary:
        """Percentiles over the last minute."""
        while self._samples and now - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()
        waits = sorted(waited for _, waited in self._samples)
        if not waits:
            return WaitSummary()
        return WaitSummary(waits[len(waits) // 2], waits[min(len(waits) - 1, int(len(waits) * 0.95))])

    async def _wait(self, deadline: float) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        place: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(deadline, _expire, place)
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            self._give_back(place)
            raise
        finally:
            timer.cancel()
        return loop.time() - start

    def _give_back(self, place: asyncio.Future[None]) -> None:
        """Whoever goes leaves the queue, or the place that was just given."""
        if place in self._waiting:
            self._waiting.remove(place)
        elif place.done() and not place.cancelled() and place.exception() is None:
            self.leave()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.places:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)


def _expire(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_exception(BackendTimeout("the deadline passed while the request waited for a place"))
