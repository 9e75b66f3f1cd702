"""What requests wait in Triton itself, behind the gate, where a model takes fewer at once than the gate lets
in. Triton counts it; it is asked once a second."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from fastserve.errors import BackendUnavailable
from fastserve.router.triton import Queued, TritonControl

ASK_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class TritonQueue:
    """`wait` is the mean of those that were answered of late, seconds; `waiting` how many wait on average;
    `seconds` all waiting since the router started, summed over requests."""

    wait: float = 0.0
    waiting: float = 0.0
    seconds: float = 0.0

    def take(self, before: Queued, now: Queued, passed: float) -> None:
        """What was counted in `passed` seconds. Counts that fell began anew, as after a load."""
        requests, seconds = now.requests - before.requests, now.seconds - before.seconds
        if requests < 0 or seconds < 0.0 or passed <= 0.0:
            requests, seconds = now.requests, now.seconds
        self.wait = seconds / requests if requests else 0.0
        self.waiting = seconds / passed if passed > 0.0 else 0.0
        self.seconds += seconds


class Served(Protocol):
    """This router's own place: which model serves, and where its queue is noted."""

    triton_queue: TritonQueue

    @property
    def serving(self) -> str: ...


async def watch(own: Served, control: TritonControl) -> None:
    """Ask Triton for ever. While it does not answer nothing is known of its queue."""
    clock = asyncio.get_running_loop().time
    name, before, at = "", Queued(), clock()
    while True:
        await asyncio.sleep(ASK_SECONDS)
        serving, queue = own.serving, own.triton_queue
        if not serving:
            queue.wait = queue.waiting = 0.0
            continue
        try:
            told = await control.queued(serving)
        except BackendUnavailable as error:
            log.debug("Triton does not tell its queue", extra={"why": str(error)})
            queue.wait = queue.waiting = 0.0
            continue
        now = clock()
        if serving == name:
            queue.take(before, told, now - at)
        name, before, at = serving, told, now
