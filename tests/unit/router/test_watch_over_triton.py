"""When a Triton counts as dead or frozen: soon where it is, and never where it is only busy."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from fastserve.errors import BackendError, BackendTimeout, BackendUnavailable
from fastserve.router.caller import ANYONE
from fastserve.router.metrics import Metrics
from fastserve.router.pulse import Pulse
from fastserve.router.replicas import MemberCall
from fastserve.router.serving import OwnReplica
from fastserve.router.triton import Question
from fastserve.router.versions.trial import Serving
from fastserve.router.vigil import Vigil
from virtual_time import run_in_virtual_time

SERVING = Serving("m-1", "1" * 64, "one", "scores", ("a", "b"), 2, 64)


@dataclass
class Model:
    """A Triton with one instance of one model: one batch after the other, each as long as `seconds` says."""

    seconds: Callable[[int], float] = lambda rows: 0.01
    pulse: Pulse = field(default_factory=Pulse)
    server_frozen: bool = False
    model_frozen: bool = False
    gone: bool = False
    probes: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _under_way: set[asyncio.Future[None]] = field(default_factory=set)

    async def _compute(self, rows: int, seconds: float) -> np.ndarray:
        if self.gone:
            raise BackendUnavailable("nobody listens")
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(broken)
        work = asyncio.ensure_future(self._work(rows))
        try:
            await asyncio.wait({work, broken}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
            if not work.done():
                raise BackendTimeout("no answer by the deadline")
        finally:
            self._under_way.discard(broken)
            work.cancel()
        return np.zeros((rows, 2), np.float32)

    async def _work(self, rows: int) -> None:
        while self.server_frozen or self.model_frozen:
            await asyncio.sleep(0.01)
        async with self._turn:
            await asyncio.sleep(self.seconds(rows))
            while self.server_frozen or self.model_frozen:
                await asyncio.sleep(0.01)

    async def infer(self, question: Question, seconds: float) -> np.ndarray:
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.pulse.begin(start)
        try:
            scores = await self._compute(len(question.texts), seconds)
        except BaseException:
            self.pulse.failed()
            raise
        self.pulse.answered(loop.time(), loop.time() - start)
        return scores

    async def aside(self, question: Question, seconds: float) -> np.ndarray:
        self.probes += 1
        return await self._compute(len(question.texts), seconds)

    async def live(self, seconds: float) -> bool:
        if self.gone:
            raise BackendUnavailable("nobody listens")
        if self.server_frozen:
            await asyncio.sleep(seconds)
        return not self.server_frozen

    def break_off(self, why: str) -> None:
        for future in self._under_way:
            if not future.done():
                future.set_exception(BackendUnavailable(why))


def call(rows: int = 1, seconds: float = 60.0) -> MemberCall:
    deadline = asyncio.get_running_loop().time() + seconds
    return MemberCall("m", (b"text",) * rows, deadline, "id", (), ANYONE)


async def watched(triton: Model, story: Callable[[OwnReplica], Awaitable[None]]) -> None:
    replica = OwnReplica("m", triton, Metrics())
    replica.switch(SERVING)
    watch = asyncio.create_task(Vigil(replica, triton, Metrics()).run())
    try:
        await story(replica)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def until(fact: Callable[[], bool]) -> float:
    """Seconds until a fact is true."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not fact():
        assert loop.time() - start < 60.0
        await asyncio.sleep(0.01)
    return loop.time() - start


@pytest.mark.parametrize("what", ["server_frozen", "model_frozen", "gone"])
@pytest.mark.parametrize("after", [3.0, 3.2, 3.45, 3.6, 3.75])
def test_an_idle_one_that_dies_is_known_within_two_seconds_and_so_is_its_return(
    what: str, after: float
) -> None:
    triton = Model()

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(after)
        setattr(triton, what, True)
        assert await until(lambda: not replica.ready) <= 2.0
        await asyncio.sleep(7.0)
        assert not replica.ready
        setattr(triton, what, False)
        assert await until(lambda: replica.ready) <= 2.6

    run_in_virtual_time(watched(triton, story))


def test_requests_in_a_frozen_server_are_given_back_within_two_seconds() -> None:
    triton = Model()

    async def story(replica: OwnReplica) -> None:
        for _ in range(100):
            await replica.infer(call())
        triton.server_frozen = True
        loop = asyncio.get_running_loop()
        start = loop.time()
        answers = await asyncio.gather(*(replica.infer(call()) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(one, BackendUnavailable) for one in answers)
        assert loop.time() - start <= 2.0
        assert not replica.ready

    run_in_virtual_time(watched(triton, story))


def test_an_idle_one_is_asked_a_little_and_a_busy_one_nothing() -> None:
    triton = Model()

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(10.0)
        assert 10 <= triton.probes <= 18
        before = triton.probes
        for _ in range(1000):
            await replica.infer(call())
        assert triton.probes == before

    run_in_virtual_time(watched(triton, story))


@pytest.mark.parametrize(("seconds", "share"), [(0.02, 0.05), (0.2, 0.05), (0.4, 0.05), (2.0, 0.2)])
@pytest.mark.parametrize("what", ["server_frozen", "model_frozen", "gone"])
def test_probes_take_a_small_part_of_a_slow_model(what: str, seconds: float, share: float) -> None:
    """Idle, and with a request now and then."""
    triton = Model(seconds=lambda rows: seconds)

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(20.0)
        before = triton.probes
        await asyncio.sleep(100.0)
        assert 9 <= triton.probes - before <= 100.0 * share / seconds + 1
        before = triton.probes
        for _ in range(20):
            await replica.infer(call())
            await asyncio.sleep(min(0.25, seconds))
        assert triton.probes == before
        setattr(triton, what, True)
        most = 2.0 if seconds <= 0.03 else seconds / share + 1.0 + 8.0 * seconds
        assert await until(lambda: not replica.ready) <= most

    run_in_virtual_time(watched(triton, story))


def test_large_batches_do_not_make_probes_of_a_fast_model_seldom() -> None:
    triton = Model(seconds=lambda rows: 0.3 if rows > 1 else 0.02)

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(10.0)
        for _ in range(300):
            await asyncio.gather(*(replica.infer(call(64)) for _ in range(2)))
        before = triton.probes
        await asyncio.sleep(10.0)
        assert triton.probes - before >= 10

    run_in_virtual_time(watched(triton, story))


def test_a_slow_start_does_not_make_probes_seldom() -> None:
    triton = Model(seconds=lambda rows: 1.0 if triton.probes < 2 else 0.02)

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(20.0)
        before = triton.probes
        await asyncio.sleep(10.0)
        assert triton.probes - before >= 10

    run_in_virtual_time(watched(triton, story))


@pytest.mark.parametrize("seconds", [0.3, 0.9, 2.0, 4.5, 9.0])
def test_full_batches_that_take_long_do_not_eject_a_healthy_one(seconds: float) -> None:
    """Answers took milliseconds for a minute; then come batches that take seconds, one after the other."""
    triton = Model(seconds=lambda rows: seconds if rows > 1 else 0.01)

    async def story(replica: OwnReplica) -> None:
        for _ in range(300):
            await replica.infer(call())
            await asyncio.sleep(0.2)
        states = set()

        async def look() -> None:
            while True:
                states.add(replica.ready)
                await asyncio.sleep(0.01)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(replica.infer(call(64, seconds=300.0)) for _ in range(8)))
        looking.cancel()
        assert states == {True}

    run_in_virtual_time(watched(triton, story))


@pytest.mark.parametrize("gap", [0.05, 0.4, 1.5, 3.0])
def test_a_large_batch_that_meets_a_probe_does_not_eject_a_healthy_one(gap: float) -> None:
    triton = Model(seconds=lambda rows: 4.0 if rows > 1 else 0.01)

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(30.0)
        for _ in range(20):
            await replica.infer(call(64))
            assert replica.ready
            await asyncio.sleep(gap)

    run_in_virtual_time(watched(triton, story))


def test_a_model_that_is_always_slow_is_given_its_time() -> None:
    triton = Model(seconds=lambda rows: 1.5)

    async def story(replica: OwnReplica) -> None:
        states = set()
        for _ in range(6000):
            await asyncio.sleep(0.01)
            states.add(replica.ready)
        assert states == {True}

    run_in_virtual_time(watched(triton, story))


def test_an_engine_that_says_that_it_is_well_is_given_all_the_time_it_takes() -> None:
    triton = Model(seconds=lambda rows: 100.0 if rows > 1 else 0.01)

    async def story(replica: OwnReplica) -> None:
        await asyncio.sleep(30.0)
        replica.vouched_until = 200.0
        await replica.infer(call(64, seconds=300.0))
        assert replica.ready

    run_in_virtual_time(watched(triton, story))


def test_a_model_that_hangs_while_requests_wait_is_known_in_the_end() -> None:
    triton = Model()

    async def story(replica: OwnReplica) -> None:
        for _ in range(100):
            await replica.infer(call())
        triton.model_frozen = True
        start = asyncio.get_running_loop().time()
        with pytest.raises(BackendError):
            await replica.infer(call(seconds=300.0))
        assert 5.0 < asyncio.get_running_loop().time() - start < 15.0

    run_in_virtual_time(watched(triton, story))
