"""The work queue, in virtual time: whole hours pass in milliseconds."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from fastserve.api.objects import ObjectKey
from fastserve.controller.workqueue import Outcome, Pace, WorkQueue
from fastserve.errors import Unreachable
from virtual_time import run_in_virtual_time

NEWS, SPORT = ObjectKey("default", "news"), ObjectKey("default", "sport")
DONE = Outcome()


class Looks:
    """Work that notes when it looked, and does what it is told to."""

    def __init__(self, result: Callable[[int], Outcome] = lambda _: DONE, seconds: float = 0.0) -> None:
        self.times: list[tuple[str, float]] = []
        self.running = self.most_at_once = 0
        self._result = result
        self._seconds = seconds

    async def __call__(self, key: ObjectKey) -> Outcome:
        self.times.append((key.name, asyncio.get_running_loop().time()))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await asyncio.sleep(self._seconds)
            return self._result(len(self.times))
        finally:
            self.running -= 1

    def of(self, key: ObjectKey) -> list[float]:
        return [time for name, time in self.times if name == key.name]


def run(looks: Looks, story: Callable[[WorkQueue], Awaitable[None]], pace: Pace | None = None) -> WorkQueue:
    async def main() -> WorkQueue:
        queue = WorkQueue(looks, pace or Pace(resync=1e9), lambda *_: None)
        worker = asyncio.create_task(queue.run())
        await story(queue)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        return queue

    return run_in_virtual_time(main())


def failing(_: int) -> Outcome:
    raise Unreachable("away")


def test_events_of_one_pool_that_come_together_are_one_look() -> None:
    async def story(queue: WorkQueue) -> None:
        for _ in range(100):
            queue.add(NEWS)
        await asyncio.sleep(10)

    looks = Looks()
    run(looks, story)
    assert looks.times == [("news", 0.0)]


def test_one_pool_is_never_looked_at_twice_at_once_and_an_event_meanwhile_is_not_lost() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(1)
        queue.add(NEWS)
        queue.add(NEWS)
        await asyncio.sleep(10)

    looks = Looks(seconds=3)
    run(looks, story)
    assert looks.of(NEWS) == [0.0, 3.0]
    assert looks.most_at_once == 1


def test_pools_are_looked_at_side_by_side_but_only_so_many() -> None:
    async def story(queue: WorkQueue) -> None:
        for number in range(20):
            queue.add(ObjectKey("default", f"pool-{number}"))
        await asyncio.sleep(100)

    looks = Looks(seconds=1)
    run(looks, story, Pace(workers=5, resync=1e9))
    assert looks.most_at_once == 5
    assert len(looks.times) == 20


def test_a_flood_of_events_is_a_look_every_gap() -> None:
    async def story(queue: WorkQueue) -> None:
        for _ in range(100):
            queue.add(NEWS)
            await asyncio.sleep(0.05)

    looks = Looks()
    run(looks, story)
    assert len(looks.times) == 11, "0.0, 0.5, … 5.0"
    assert looks.times[0] == ("news", 0.0)


def test_failures_back_off_from_a_second_to_a_minute() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(3600)

    looks = Looks(failing)
    run(looks, story)
    gaps = [later - earlier for earlier, later in zip(looks.of(NEWS), looks.of(NEWS)[1:], strict=False)]
    assert 0.8 <= gaps[0] <= 1.2
    assert all(gap <= 60.001 for gap in gaps)
    assert min(gaps[8:]) >= 48
    assert len(set(gaps[:5])) == 5, "jitter"


def test_an_event_cuts_the_back_off_short() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(1000)
        before = len(looks.times)
        await asyncio.sleep(2)
        queue.add(NEWS)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(looks.times) == before + 1

    looks = Looks(failing)
    run(looks, story)


def test_a_success_ends_the_back_off() -> None:
    def fifth_works(number: int) -> Outcome:
        return Outcome(recheck_after=100) if number == 5 else failing(number)

    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(200)

    looks = Looks(fifth_works)
    run(looks, story)
    times = looks.of(NEWS)
    assert times[5] - times[4] == pytest.approx(100)
    assert times[6] - times[5] <= 1.2


def test_a_look_that_asks_for_it_is_repeated_and_an_event_comes_before() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(12)
        queue.add(NEWS)
        await asyncio.sleep(9)

    looks = Looks(lambda _: Outcome(recheck_after=5))
    run(looks, story)
    assert looks.of(NEWS) == [0.0, 5.0, 10.0, 12.0, 17.0]


def test_every_pool_is_looked_at_again_in_ten_minutes_whatever_was_told() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        queue.add(SPORT)
        await asyncio.sleep(3600)

    looks = Looks()
    run(looks, story, Pace())
    gaps = [later - earlier for earlier, later in zip(looks.of(NEWS), looks.of(NEWS)[1:], strict=False)]
    assert 5 <= len(gaps) <= 7
    assert all(480 <= gap <= 720 for gap in gaps)
    assert looks.of(NEWS)[1:] != looks.of(SPORT)[1:], "jitter"


def test_a_pool_that_is_gone_is_forgotten_and_can_come_back() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(10_000)
        assert queue.keys == frozenset()
        queue.add(NEWS)
        await asyncio.sleep(1)

    looks = Looks(lambda _: Outcome(gone=True))
    queue = run(looks, story, Pace())
    assert looks.of(NEWS) == [0.0, 10_000.0]
    assert queue.keys == frozenset()


def test_an_event_while_a_pool_goes_is_looked_at() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(0.5)
        queue.add(NEWS)
        await asyncio.sleep(10)

    looks = Looks(lambda number: Outcome(gone=True) if number == 1 else DONE, seconds=1)
    queue = run(looks, story)
    assert looks.of(NEWS) == [0.0, 1.0]
    assert queue.keys == {NEWS}


def test_a_bug_neither_ends_the_queue_nor_touches_another_pool(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[str, str]] = []

    async def work(key: ObjectKey) -> Outcome:
        return DONE if key == SPORT else Outcome(recheck_after=float(str(key)))

    async def main() -> None:
        queue = WorkQueue(work, Pace(workers=1), lambda key, result, _: heard.append((key.name, result)))
        worker = asyncio.create_task(queue.run())
        queue.add(NEWS)
        queue.add(SPORT)
        await asyncio.sleep(0.5)
        worker.cancel()

    run_in_virtual_time(main())
    assert heard == [("news", "failed"), ("sport", "done")]
    assert "which it must not" in caplog.text


def test_a_look_that_hangs_is_given_up() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.add(NEWS)
        await asyncio.sleep(125)

    looks = Looks(seconds=1e6)
    run(looks, story)
    assert looks.of(NEWS)[1] == pytest.approx(121, abs=0.3)


def test_what_an_event_tells_comes_before_pools_that_only_wait() -> None:
    """A hundred pools ask to be looked at again each second; the workers need 25 seconds for all of them."""
    waiting = [ObjectKey("default", f"waits-{number}") for number in range(100)]

    async def story(queue: WorkQueue) -> None:
        for key in waiting:
            queue.add(key)
        await asyncio.sleep(60)
        queue.add(NEWS)
        await asyncio.sleep(60)

    looks = Looks(lambda _: Outcome(recheck_after=1.0), seconds=0.5)
    run(looks, story, Pace(workers=2, resync=1e9))
    assert looks.of(NEWS)[0] - 60 <= 0.5
    assert all(len(looks.of(key)) >= 4 for key in waiting)


def test_an_event_brings_a_pool_forward_that_already_waits_and_it_is_looked_at_once() -> None:
    others = [ObjectKey("default", f"waits-{number}") for number in range(20)]

    async def story(queue: WorkQueue) -> None:
        for key in (*others, SPORT):
            queue.add(key)
        await asyncio.sleep(25.2)  # all wait again; its own turn would come 20 seconds later
        before = len(looks.of(SPORT))
        queue.add(SPORT)
        queue.add(SPORT)
        await asyncio.sleep(4)
        assert len(looks.of(SPORT)) == before + 1

    looks = Looks(lambda _: Outcome(recheck_after=2.0), seconds=1.0)
    run(looks, story, Pace(workers=1, resync=1e9, patience=1e6))


def test_hundreds_of_pools_that_wait_are_looked_at_in_turns() -> None:
    async def story(queue: WorkQueue) -> None:
        for number in range(300):
            queue.add(ObjectKey("default", f"waits-{number}"))
        await asyncio.sleep(100)

    looks = Looks(lambda _: Outcome(recheck_after=1.0))
    run(looks, story, Pace(resync=1e9, rechecks=10))
    assert 1200 <= len(looks.times) <= 1310
    assert {len(looks.of(ObjectKey("default", f"waits-{number}"))) for number in range(300)} <= {4, 5}
