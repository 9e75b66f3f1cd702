"""What requests wait in Triton itself, behind the gate, where a model takes fewer at once than the gate lets
in. Triton counts it; it is asked once a second."""

import asyncio
import logging
from dataclasses import dataclass
from math import exp
from typing import Protocol

from fastserve.errors import BackendUnavailable
from fastserve.router.triton import Queued, TritonControl

ASK_SECONDS = 1.0
FULL_BATCHES = 2.0
"""While so many batches wait, Triton does what it can."""
MEMORY_SECONDS = 30.0
"""Of such times; what lies further back counts e times less."""
ENOUGH_SECONDS, ENOUGH_ANSWERS = 3.0, 8
"""Nothing is told of its pace before so much was seen."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class TritonQueue:
    """`wait` is the mean of those that were answered of late, seconds; `waiting` how many wait on average;
    `seconds` all waiting since the router started, summed over requests."""

    wait: float = 0.0
    waiting: float = 0.0
    seconds: float = 0.0
    full_seconds: float = 0.0
    full_answers: float = 0.0
    """Time in which it did what it could, and what it answered then; the older the less."""

    @property
    def pace(self) -> float:
        """Requests per second that it answers while many wait; 0 where too little was seen."""
        enough = self.full_seconds >= ENOUGH_SECONDS and self.full_answers >= ENOUGH_ANSWERS
        return self.full_answers / self.full_seconds if enough else 0.0

    def forget(self) -> None:
        """Another version serves."""
        self.full_seconds = self.full_answers = 0.0

    def take(self, before: Queued, now: Queued, passed: float) -> None:
        """What was counted in `passed` seconds. Counts that fell began anew, as after a load."""
        requests, seconds = now.requests - before.requests, now.seconds - before.seconds
        if requests < 0 or seconds < 0.0 or passed <= 0.0:
            requests, seconds = now.requests, now.seconds
        self.wait = seconds / requests if requests else 0.0
        self.waiting = seconds / passed if passed > 0.0 else 0.0
        self.seconds += seconds
        batches = max(1, now.batches - before.batches)
        if self.waiting >= FULL_BATCHES * max(1.0, requests / batches):
            kept = exp(-passed / MEMORY_SECONDS)
            self.full_seconds = self.full_seconds * kept + passed
            self.full_answers = self.full_answers * kept + requests


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
