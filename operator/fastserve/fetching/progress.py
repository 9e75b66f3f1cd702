"""How far fetching has come: JSON lines, at most four a second."""

import threading
import time
from collections.abc import Callable
from typing import Literal

import msgspec

SECONDS_BETWEEN = 0.25
Phase = Literal["Fetching", "Unpacking"]


class Step(msgspec.Struct, frozen=True, rename="camel"):
    """`bytes_total` is 0 where the source does not tell how much there is."""

    phase: Phase
    bytes_done: int
    bytes_total: int


class Fetched(msgspec.Struct, frozen=True, rename="camel"):
    """The last line of a success. `revision` is what the source calls this state of it (the hub's commit, the
    registry's digest, a file's etag); `digest` is what a request can name to get exactly this again."""

    bytes_done: int
    bytes_total: int
    revision: str
    digest: str
    phase: Literal["Fetched"] = "Fetched"


class Failed(msgspec.Struct, frozen=True, rename="camel"):
    """The last line of a failure. `message` says what to do."""

    reason: str
    message: str


Line = Step | Fetched | Failed
Tell = Callable[[Line], None]
"""Takes each line as it comes."""


class Meter:
    """Counts bytes from several threads and tells them now and then."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._told = float("-inf")
        self._phase: Phase = "Fetching"
        self.done = 0
        self.total = 0

    def start(self, phase: Phase, total: int, done: int = 0) -> None:
        """Begin a phase; `done` bytes of it lie there already."""
        with self._lock:
            self._phase, self.total, self.done = phase, total, done
            self._tell_if_due()

    def add(self, count: int) -> None:
        """Count bytes; fewer than none where a transfer starts over."""
        with self._lock:
            self.done += count
            self._tell_if_due()

    def _tell_if_due(self) -> None:
        now = self._clock()
        if now - self._told >= SECONDS_BETWEEN:
            self._told = now
            self._tell(Step(self._phase, self.done, self.total))
