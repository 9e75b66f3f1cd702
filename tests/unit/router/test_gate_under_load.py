"""The gate with all its parts under overload, in virtual time, over a backend of declared waits."""

import asyncio
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.errors import BackendOverloaded
from fastserve.router.admission.gate import End, Gate, Shed
from fastserve.router.caller import ANYONE, Caller, Priority
from pretend_backend import Load, PretendBackend
from virtual_time import run_in_virtual_time

BATCH = Caller(Priority.BATCH)
INFERENCES: dict[str, tuple[int, Callable[[int], float]]] = {
    "batches of 32 that take 30 ms": (32, lambda _: 0.030),
    "batches of 8 that take longer the more is in them": (8, lambda n: 0.010 + 0.002 * n),
    "no gain from batches": (32, lambda n: 0.010 * n),
    "one at a time": (1, lambda _: 0.020),
}
NOISE = 0.1


def load_on(name: str, places: int = 64, max_waiting: int = 256) -> tuple[Load, float, Counter[str]]:
    """A load, what its backend can answer per second, and where sheds are counted."""
    batch, seconds = INFERENCES[name]
    sheds: Counter[str] = Counter()
    gate = Gate(places, max_waiting, lambda why, _: sheds.update([str(why)]))
    peak = max(n / seconds(n) for n in (1, batch))
    return Load(gate, PretendBackend(batch, seconds, NOISE)), peak, sheds


def long_enough(peak: float) -> float:
    """Seconds of a load: some hundred answers, and not a hundred thousand sheds."""
    return 10.0 if peak < 200.0 else 4.0


@pytest.mark.parametrize("name", INFERENCES)
@pytest.mark.parametrize(("allowed", "least"), [(5.0, 0.9), (1.0, 0.8)])
def test_ten_times_too_much_is_answered_as_fast_as_can_be_and_the_rest_told_at_once(
    name: str, allowed: float, least: float
) -> None:
    """One second is less than two of these take with 64 inside: that is found out by asking too much."""

    async def story() -> None:
        load, peak, sheds = load_on(name)
        seconds = long_enough(peak)
        await load.run(10.0 * peak, seconds, allowed)
        assert load.answered(0.2 * seconds, seconds) >= least * peak
        told = [one.seconds for one in load.ended if one.what == "shed"]
        assert np.quantile(told, 0.99) <= 0.050
        assert load.most_inside <= 64
        what = load.counted(0.2 * seconds, seconds)
        assert what["late"] <= 0.1 * what["answered"]
        assert set(sheds) <= {Shed.STANDING, Shed.TOO_LATE, Shed.QUEUE_FULL, Shed.NO_TIME, Shed.EXPIRED}
        await load.settle()
        assert (load.gate.in_flight, load.gate.waiting) == (0, 0)

    run_in_virtual_time(story())


@pytest.mark.parametrize("name", INFERENCES)
def test_a_queue_that_stands_is_short_so_that_answers_do_not_come_at_their_deadline(name: str) -> None:
    async def story() -> None:
        load, peak, _ = load_on(name, places=16)
        await load.run(5.0 * peak, 8.0, 30.0)
        waits = [one.seconds for one in load.ended if one.what == "answered" and one.sent > 4.0]
        assert np.quantile(waits, 0.99) <= 3.0

    run_in_virtual_time(story())


@pytest.mark.parametrize("name", INFERENCES)
def test_where_more_replicas_can_come_a_surge_waits_for_them(name: str) -> None:
    """A second of twice as much, and time enough to work it off: nobody is turned away for a queue that
    stands."""

    async def story() -> None:
        load, peak, sheds = load_on(name, max_waiting=100_000)
        load.gate.relief = lambda: True
        await load.run(2.0 * peak, 1.0, 30.0)
        await load.settle()
        assert not sheds

    run_in_virtual_time(story())


@pytest.mark.parametrize("name", INFERENCES)
def test_after_an_overload_everybody_is_answered_again_within_seconds(name: str) -> None:
    async def story() -> None:
        load, peak, _ = load_on(name)
        over = 0.5 * long_enough(peak)
        await load.run(10.0 * peak, over, 5.0)
        await load.run(0.5 * peak, 10.0, 5.0)
        await load.settle()
        assert set(load.counted(over + 4.0, over + 10.0)) == {"answered"}
        waits = [one.seconds for one in load.ended if one.sent >= over + 4.0]
        assert np.quantile(waits, 0.5) <= 0.5

    run_in_virtual_time(story())


def test_a_backend_that_gets_five_times_slower_gets_less_and_more_again_when_it_recovers() -> None:
    async def story() -> None:
        load, peak, _ = load_on("batches of 32 that take 30 ms")
        for slower in (1.0, 5.0, 1.0):
            load.backend.slower = slower
            begin = asyncio.get_running_loop().time()
            await load.run(2.0 * peak, 8.0, 1.0)
            # A look at half the limit falls into these five seconds.
            assert load.answered(begin + 3.0, begin + 8.0) >= 0.8 * peak / slower
        await load.settle()

    run_in_virtual_time(story())


def test_a_tenant_whose_deadlines_are_too_short_takes_no_place_from_one_that_has_time() -> None:
    """Half of what can be answered is asked for, and a batch takes as long whatever is in it: late answers
    of the one are no reason to let in fewer of the other."""

    async def story() -> None:
        load, _, _ = load_on("batches of 32 that take 30 ms")
        load.backend.noise = 0.5
        hasty, patient = Caller(tenant="hasty"), Caller(tenant="patient")
        allowed = {hasty: 0.06, patient: 5.0}
        for _ in range(10_000):
            caller = (hasty, patient)[int(load.dice.integers(2))]
            task = asyncio.create_task(load.one(caller, allowed[caller]))
            load.tasks.add(task)
            task.add_done_callback(load.tasks.discard)
            await asyncio.sleep(load.dice.exponential(1.0 / 500.0))
        await load.settle()
        assert {one.what for one in load.ended if one.caller is patient} == {"answered"}
        hasty_ones = [one.what for one in load.ended if one.caller is hasty]
        assert hasty_ones.count("late") > 100
        assert hasty_ones.count("answered") >= 0.5 * len(hasty_ones)

    run_in_virtual_time(story())


def test_a_limit_that_was_found_under_overload_opens_under_a_light_load_that_pauses() -> None:
    """Five at a time, with nobody inside between: no window ever ends in such a load."""

    async def story() -> None:
        load, _, _ = load_on("one at a time")
        await load.run(500.0, 30.0, 5.0)
        await load.settle()
        assert load.gate.limit <= 8
        load.backend.batch, load.backend.seconds = 32, lambda _: 0.030
        for _ in range(300):
            await asyncio.gather(*(load.one(ANYONE, 5.0) for _ in range(5)))
            await asyncio.sleep(0.1)
        assert load.gate.limit >= 32
        assert np.median([one.seconds for one in load.ended[-100:]]) <= 0.070

    run_in_virtual_time(story())


def test_batch_gets_its_tenth_under_overload_and_the_rest_where_nobody_else_asks() -> None:
    async def story() -> None:
        load, peak, sheds = load_on("one at a time", places=2)
        await load.run(4.0 * peak, 20.0, 5.0, (ANYONE, BATCH))
        answered = Counter(one.caller for one in load.ended if one.what == "answered" and one.sent > 2.0)
        share = answered[BATCH] / answered.total()
        assert 0.07 <= share <= 0.13
        assert sheds[Shed.PUSHED_OUT] > 0
        await load.run(0.9 * peak, 10.0, 5.0, (BATCH,))
        assert load.counted(22.0, 30.0)["answered"] >= 0.8 * load.counted(22.0, 30.0).total()

    run_in_virtual_time(story())


def test_a_tenant_that_asks_for_twenty_times_as_much_takes_nothing_from_the_others() -> None:
    async def story() -> None:
        load, peak, _ = load_on("one at a time", places=2)
        greedy, modest = Caller(tenant="greedy"), Caller(tenant="modest")
        await load.run(6.0 * peak, 20.0, 5.0, (*[greedy] * 20, modest))
        ended = [one for one in load.ended if one.caller is modest and one.sent > 1.0]
        assert len(ended) > 100
        assert sum(one.what == "answered" for one in ended) >= 0.95 * len(ended)

    run_in_virtual_time(story())


def test_a_deadline_that_the_wait_would_outlast_is_refused_at_once_with_when_to_come_again() -> None:
    async def story() -> None:
        load, _, sheds = load_on("one at a time", places=1)
        await asyncio.gather(*(load.one(ANYONE, 30.0) for _ in range(3)))  # what one takes is known now
        tasks = [asyncio.create_task(load.one(ANYONE, 30.0)) for _ in range(100)]
        await asyncio.sleep(0.0)
        gate, now = load.gate, asyncio.get_running_loop().time()
        assert not gate.take(now, now + 0.5)
        with pytest.raises(
            BackendOverloaded, match=r"0\.500 s are left, and a place would come in 2\.0"
        ) as told:
            await gate.wait(ANYONE, now + 0.5)
        assert 1.8 <= told.value.retry_after <= 2.4
        assert asyncio.get_running_loop().time() == now
        assert sheds[Shed.TOO_LATE] == 1
        await asyncio.gather(*tasks)

    run_in_virtual_time(story())


def test_one_deadline_that_cannot_be_met_does_not_slow_down_the_others() -> None:
    """Whoever finds nobody inside is let in with any deadline; what comes of it proves nothing."""

    async def story() -> None:
        load, _, _ = load_on("batches of 32 that take 30 ms")
        await asyncio.gather(*(load.one(ANYONE, 5.0) for _ in range(4)))
        for _ in range(100):
            await load.one(ANYONE, 0.001)
            await asyncio.sleep(0.1)
        assert load.gate.limit == 64
        await load.one(ANYONE, 5.0)
        assert load.ended[-1].what == "answered"

    run_in_virtual_time(story())


@st.composite
def visits(draw: st.DrawFn) -> list[tuple[float, float, float, Caller]]:
    """When each comes, how long it is allowed, when it gives up, who it is; in steps that often coincide."""
    step = st.integers(0, 12).map(lambda n: n * 0.01)
    caller = st.builds(Caller, st.sampled_from(Priority), st.sampled_from(["a", "b"]))
    return draw(st.lists(st.tuples(step, step.map(lambda s: s + 0.01), step, caller), max_size=40))


@settings(max_examples=60)
@given(visits(), st.integers(1, 3), st.integers(1, 6), st.sampled_from(list(INFERENCES)))
def test_whoever_gives_up_at_whatever_moment_frees_the_place_and_nobody_is_told_twice(
    script: list[tuple[float, float, float, Caller]], places: int, max_waiting: int, name: str
) -> None:
    async def story() -> None:
        load, _, _ = load_on(name, places, max_waiting)
        gate = load.gate

        async def visit(comes: float, allowed: float, gives_up: float, caller: Caller) -> None:
            await asyncio.sleep(comes)
            task = asyncio.create_task(load.one(caller, allowed))
            await asyncio.sleep(gives_up)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        async def watch() -> None:
            while True:
                assert 0 <= gate.in_flight <= places
                assert 0 <= gate.waiting <= max_waiting
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(visit(*one) for one in script))
        await asyncio.sleep(1.0)
        assert (gate.in_flight, gate.waiting) == (0, 0)
        assert len(load.ended) <= len(script)
        assert not watching.done()
        watching.cancel()
        assert gate.take(asyncio.get_running_loop().time(), 1e9)

    run_in_virtual_time(story())


def test_failures_that_go_on_do_not_keep_a_limit_that_was_only_being_tried() -> None:
    """No window of a trial ends while one in ten fails."""

    async def story() -> None:
        gate, now, tried = Gate(8, 8, lambda _why, _priority: None), 0.0, False
        for _ in range(8):
            assert gate.take(now, 1e9)
        waiting = [asyncio.create_task(gate.wait(ANYONE, 1e9)) for _ in range(8)]
        await asyncio.sleep(0.0)
        for count in range(2000):
            now += 0.01
            tried = tried or gate.limit < 8
            gate.leave(now - 0.1, now, 7, End.FAILED if tried and count % 10 == 0 else End.ANSWERED)
            await asyncio.sleep(0.01)
            waiting = [one for one in waiting if not one.done()]
            waiting += [asyncio.create_task(gate.wait(ANYONE, 1e9)) for _ in range(8 - len(waiting))]
            await asyncio.sleep(0.0)
        assert tried
        assert gate.limit == 8
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run_in_virtual_time(story())


def test_a_look_that_halves_the_pace_ends_soon_and_a_few_late_answers_do_not_cut_the_limit() -> None:
    """Batches of two in 200 ms: with two places each request makes a batch of its own."""

    async def story() -> None:
        gate, looked = Gate(4, 8, lambda _why, _priority: None), list[int]()
        for _ in range(4):
            assert gate.take(0.0, 1e9)
        waiting = [asyncio.create_task(gate.wait(ANYONE, 1e9)) for _ in range(8)]
        for tick in range(1, 100):
            await asyncio.sleep(0.2)
            now, tried = 0.2 * tick, gate.limit == 2
            if tried:
                looked.append(tick)
            late = tried and len(looked) in (6, 9)
            for _ in range(1 if tried else 2):
                gate.leave(now - (1.0 if late else 0.4), now, 3, End.LATE if late else End.ANSWERED)
            await asyncio.sleep(0.0)
            waiting = [one for one in waiting if not one.done()]
            waiting += [asyncio.create_task(gate.wait(ANYONE, 1e9)) for _ in range(8 - len(waiting))]
            await asyncio.sleep(0.0)
        assert 0 < len(looked) <= 24
        assert gate.limit == 4
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run_in_virtual_time(story())


def test_a_failure_is_no_answer_and_frees_the_place() -> None:
    async def story() -> None:
        gate = Gate(1, 1, lambda _why, _priority: None)
        assert gate.take(0.0, 5.0)
        waiting = asyncio.create_task(gate.wait(ANYONE, 5.0))
        await asyncio.sleep(0.5)
        gate.leave(0.0, 0.5, 0, End.FAILED)
        assert await waiting == 0.5
        assert gate.in_flight == 1

    run_in_virtual_time(story())


def test_a_queue_before_a_backend_that_stopped_is_as_long_as_it_may_be() -> None:
    """Nobody asks too much: whoever waits is answered, or sent elsewhere once the backend is given up."""

    async def story() -> None:
        load, _, sheds = load_on("batches of 32 that take 30 ms", places=32)
        await load.run(200.0, 4.0, 30.0)
        assert not sheds
        load.backend.slower = 1e6
        await load.run(200.0, 1.1, 30.0)
        assert not sheds
        assert load.gate.waiting > 150
        for task in load.tasks:
            task.cancel()
        await asyncio.gather(*load.tasks, return_exceptions=True)

    run_in_virtual_time(story())


def test_a_hiccup_of_an_idle_backend_refuses_nobody_of_a_burst() -> None:
    """One answer of many seconds that came with another one inside would be minutes for sixty, were the line
    believed that far."""

    async def story() -> None:
        load, _, sheds = load_on("batches of 32 that take 30 ms")
        await load.run(10.0, 20.0, 5.0)
        load.backend.slower = 30.0
        await asyncio.gather(load.one(ANYONE, 5.0), load.one(ANYONE, 5.0))
        load.backend.slower = 1.0
        await asyncio.gather(*(load.one(ANYONE, 5.0) for _ in range(64)))
        assert not sheds
        assert load.counted(0.0, 60.0) == {"answered": len(load.ended)}

    run_in_virtual_time(story())


def test_a_backend_that_stays_silent_has_a_short_queue_again() -> None:
    """Whoever watches it has said by then that it is dead, or will not."""

    async def story() -> None:
        load, _, sheds = load_on("batches of 32 that take 30 ms", places=32)
        await load.run(200.0, 4.0, 30.0)
        load.backend.slower = 1e6
        await load.run(100.0, 1.4, 30.0)
        assert not sheds
        await load.run(100.0, 1.0, 30.0)
        assert set(sheds) == {Shed.STANDING}
        for task in load.tasks:
            task.cancel()
        await asyncio.gather(*load.tasks, return_exceptions=True)

    run_in_virtual_time(story())
