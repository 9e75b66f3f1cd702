"""What waits in Triton, by its own counts."""

import asyncio
from dataclasses import dataclass, field

import pytest

from fastserve.errors import BackendUnavailable
from fastserve.router.scaling.triton_queue import TritonQueue, watch
from fastserve.router.triton import Queued
from virtual_time import run_in_virtual_time


def test_what_was_answered_of_late_tells_the_wait() -> None:
    queue = TritonQueue()
    queue.take(Queued(100, 5.0), Queued(110, 10.0), 2.0)
    assert (queue.wait, queue.waiting, queue.seconds) == (0.5, 2.5, 5.0)


def test_without_answers_nobody_is_known_to_wait() -> None:
    queue = TritonQueue(wait=1.0, waiting=3.0)
    queue.take(Queued(10, 5.0), Queued(10, 5.0), 1.0)
    assert (queue.wait, queue.waiting) == (0.0, 0.0)


def test_counts_that_begin_anew_take_nothing_back() -> None:
    queue = TritonQueue()
    queue.take(Queued(100, 5.0), Queued(4, 0.2), 1.0)
    assert (queue.wait, queue.seconds) == (pytest.approx(0.05), 0.2)


def test_the_pace_is_what_it_does_while_many_wait() -> None:
    queue, before = TritonQueue(), Queued()
    for second in range(1, 8):
        now = Queued(4 * second, 5.0 * second, 4 * second)
        queue.take(before, now, 1.0)
        before = now
    assert queue.pace == pytest.approx(4.0)
    queue.forget()
    assert queue.pace == 0.0


def test_one_batch_that_waits_for_another_tells_no_pace() -> None:
    queue, before = TritonQueue(), Queued()
    for second in range(1, 20):
        now = Queued(32 * second, 8.0 * second, 4 * second)
        queue.take(before, now, 1.0)
        before = now
    assert queue.pace == 0.0


@dataclass
class Own:
    serving: str = "a"
    triton_queue: TritonQueue = field(default_factory=TritonQueue)


@dataclass
class Control:
    """Every second ten requests more, that waited a tenth of a second each."""

    away: bool = False

    async def queued(self, name: str) -> Queued:
        if self.away:
            raise BackendUnavailable("gone")
        now = asyncio.get_running_loop().time()
        return Queued(round(10 * now), now)


def test_triton_is_asked_for_as_long_as_it_serves() -> None:
    async def main() -> None:
        own, control = Own(), Control()
        task = asyncio.create_task(watch(own, control))  # type: ignore[arg-type]
        await asyncio.sleep(5.5)
        assert own.triton_queue.wait == pytest.approx(0.1)
        assert own.triton_queue.seconds == pytest.approx(4.0)
        control.away = True
        await asyncio.sleep(2)
        assert own.triton_queue.wait == 0.0
        control.away, own.serving = False, "b"  # whose counts are its own
        await asyncio.sleep(1.5)
        assert own.triton_queue.seconds == pytest.approx(4.0)
        await asyncio.sleep(1)
        own.serving = ""
        await asyncio.sleep(1)
        assert own.triton_queue.wait == 0.0
        task.cancel()

    run_in_virtual_time(main())
