"""Whether this process is alive: its event loop turns, and its watches are at work.

Written by the loops, read by the thread that answers the kubelet, which runs even while the loops are
frozen. Times are those of time.monotonic.
"""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from fastserve.cluster.session import Request

FROZEN_SECONDS: Final = 10.0
DEAD_SECONDS: Final = 600.0
"""A watch that neither heard nor tried anything for longer than this is dead: a sound one connects anew
every few minutes, and one that cannot tries every ten seconds."""

Response = aiohttp.ClientResponse


@dataclass
class _Watch:
    heard_at: float
    tried_at: float
    bytes_read: int = 0
    response: "weakref.ref[Response] | None" = None


class Vitals:
    """Signs of life. `clock` is replaced in tests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat_at = clock()
        self._watches: dict[str, _Watch] = {}
        self.is_started = False
        """Whether the API server answered at least once."""
        self.is_leader = False

    def beat(self) -> None:
        """The main event loop turns."""
        self._beat_at = self._clock()

    def expect(self, resources: tuple[str, ...]) -> None:
        """These resources (plurals) are watched from now on, and no others."""
        now = self._clock()
        self._watches = {resource: _Watch(now, now) for resource in resources}

    def begun(self, request: Request) -> None:
        """A request of the watching thread begins."""
        watch = self._watches.get(request.resource)
        if watch is not None:
            watch.tried_at = self._clock()

    def ended(self, request: Request, status: int, response: Response | None) -> None:
        """Its head is there, or it failed; what a watch reads from now on is heard as well."""
        watch = self._watches.get(request.resource)
        if watch is None or status >= 400 or response is None:
            return
        watch.heard_at = self._clock()
        if request.verb == "watch":
            watch.response, watch.bytes_read = weakref.ref(response), 0

    def watch_ages(self) -> dict[str, float]:
        """Seconds since each watch last heard anything (an event, a bookmark, a list), by resource."""
        now = self._clock()
        return {resource: now - self._heard_at(watch) for resource, watch in list(self._watches.items())}

    def problem(self) -> str:
        """Why this process should be started again; empty while it is well."""
        silent = self._clock() - self._beat_at
        if silent > FROZEN_SECONDS:
            return f"the event loop has not turned for {silent:.0f} s"
        now = self._clock()
        for resource, watch in list(self._watches.items()):
            idle = now - max(self._heard_at(watch), watch.tried_at)
            if idle > DEAD_SECONDS:
                return f"the watch of {resource} has done nothing for {idle:.0f} s"
        return ""

    def _heard_at(self, watch: _Watch) -> float:
        response = watch.response() if watch.response else None
        if response is not None and response.content.total_bytes != watch.bytes_read:
            watch.bytes_read, watch.heard_at = response.content.total_bytes, self._clock()
        return watch.heard_at
