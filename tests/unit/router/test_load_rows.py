"""What a router measures of the load: rows that agree with what was done, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import repeat

import pytest

from fake_replicas import Place
from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, WAIT_BOUNDS, LoadRow
from fastserve.errors import BackendError, BackendUnavailable
from fastserve.router.admission.gate import End, Gate
from fastserve.router.caller import ANYONE
from fastserve.router.calling import Calling
from fastserve.router.metrics import Metrics
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.replicas import MemberCall
from fastserve.router.scaling.meter import Meter
from fastserve.router.serving import OwnReplica
from pretend_backend import Load, PretendBackend
from unit.router.test_asking_one_by_name import pool_of
from unit.router.test_own_replica import NEW, OLD, Inference, call, replica_of
from virtual_time import run_in_virtual_time

START = 1_000_001.5
"""Unix time of the virtual clock's zero; in the midst of a row."""


class Clock:
    """Unix time in virtual time. `jump` is what somebody set it forward by."""

    def __init__(self) -> None:
        self.jump = 0.0

    def __call__(self) -> float:
        return START + self.jump + asyncio.get_running_loop().time()


def measured(story: Callable[[Meter, OwnReplica, Clock], Awaitable[None]], places: int = 2) -> None:
    async def run() -> None:
        replica, clock = replica_of(Inference(seconds=0.5), places), Clock()
        meter = Meter(clock, replica)
        ticking = asyncio.create_task(meter.run())
        await asyncio.sleep(0.0)
        await story(meter, replica, clock)
        ticking.cancel()

    run_in_virtual_time(run())


def rows(meter: Meter, seconds: float = HISTORY_SECONDS) -> tuple[LoadRow, ...]:
    return meter.report("me", seconds=seconds).rows


def test_a_row_has_what_came_what_was_answered_how_busy_it_was_and_who_waited_how_long() -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        await asyncio.sleep(0.5)  # a row begins
        asked = [asyncio.create_task(replica.infer(call())) for _ in range(7)]
        await asyncio.sleep(1.9)
        assert [row.arrivals for row in rows(meter)] == [0]
        await asyncio.gather(*asked)
        await asyncio.sleep(2.1)

        first, second = rows(meter)[1:3]
        assert (first.at, second.at) == (1_000_002, 1_000_004)
        assert (first.arrivals, first.answered, first.waiting) == (7, 6, 0)
        assert (second.arrivals, second.answered) == (0, 1)
        assert first.busy_seconds == pytest.approx(3 * 2 * 0.5 + 0.5, abs=1e-5)
        assert second.busy_seconds == pytest.approx(0.0, abs=1e-5)
        waited = [(*WAIT_BOUNDS, 99.0)[at] for at, count in enumerate(first.waits) for _ in range(count)]
        assert waited == [0.001, 0.001, 0.65, 0.65, 1.0, 1.0, 1.6]

    measured(story)


def test_what_is_still_inside_when_a_row_ends_counts_as_far_as_it_came() -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        await asyncio.sleep(0.25)
        await replica.infer(call())  # half of it in the first row
        await asyncio.sleep(2.0)
        busy = [row.busy_seconds for row in rows(meter)]
        assert busy == pytest.approx([0.25, 0.25], abs=1e-5)

    measured(story)


def test_those_that_are_not_let_in_came_as_well() -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        replica.gate.resize(1, 1)
        said = await asyncio.gather(*(replica.infer(call()) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, BackendError) for one in said) == 3
        await asyncio.sleep(2.0)
        assert sum(row.arrivals for row in rows(meter)) == 5
        assert sum(row.answered for row in rows(meter)) == 2

    measured(story)


def test_own_rows_are_there_without_traffic_and_are_forgotten_after_the_history() -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        await asyncio.sleep(700.0)
        found = rows(meter)
        assert len(found) == HISTORY_SECONDS / ROW_SECONDS
        assert {row.at % ROW_SECONDS for row in found} == {0}
        assert len(rows(meter, 30.0)) == 15
        assert all(row.own and row.member == "m" for row in found)

    measured(story)


@pytest.mark.parametrize("jump", [-3600.0, -3.0, 3600.0])
def test_a_clock_that_is_set_leaves_rows_that_ascend_and_goes_on(jump: float) -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        await asyncio.sleep(60.0)
        clock.jump = jump
        await asyncio.sleep(60.0)
        found = [row.at for row in rows(meter)]
        assert found == sorted(set(found))
        assert max(found) <= clock()
        assert len([at for at in found if at > clock() - 60.0]) >= 29

    measured(story)


def test_doors_count_who_was_asked_and_what_is_under_way_is_not_told() -> None:
    gone, good = Place(repeat(BackendUnavailable("gone")), instance="a"), Place(instance="b", in_flight=9)

    async def run() -> None:
        peers = Peers("me", lambda member, ready: None)
        peers.by_member = {"m": [gone, good]}
        pool = Pool("pool", None, peers, meter=Meter(Clock()))
        deadline = asyncio.get_running_loop().time() + 5.0
        await Calling(pool, Metrics()).call(MemberCall("m", (b"text",), deadline, "id", (), ANYONE))
        assert rows(pool.meter) == ()
        await asyncio.sleep(2.0)
        assert rows(pool.meter) == (
            LoadRow(at=1_000_000, member="m", own=False, arrivals=1, sent={"a": 1, "b": 1}),
        )
        await asyncio.sleep(2.0)
        assert len(rows(pool.meter)) == 1

    run_in_virtual_time(run())


@pytest.mark.parametrize(("texts", "places"), [(1, 1), (64, 1), (65, 2), (1000, 16)])
def test_a_request_of_many_texts_counts_at_the_door_as_at_the_gate(texts: int, places: int) -> None:
    async def run() -> None:
        pool = pool_of("TextClassification", Place(instance="a"))
        pool.meter = Meter(Clock())
        deadline = asyncio.get_running_loop().time() + 5.0
        await Calling(pool, Metrics()).call(MemberCall("m", (b"text",) * texts, deadline, "id", (), ANYONE))
        await asyncio.sleep(2.0)
        (row,) = rows(pool.meter)
        assert (row.arrivals, row.sent) == (places, {"a": places})

    run_in_virtual_time(run())


def test_a_member_that_is_removed_is_counted_no_more() -> None:
    async def run() -> None:
        meter = Meter(Clock())
        for name in ("a", "b"):
            meter.door(name).arrivals += 1
        meter.keep(("b",))
        await asyncio.sleep(2.0)
        assert [row.member for row in rows(meter)] == ["b"]

    run_in_virtual_time(run())


class Scattered(PretendBackend):
    """One after the other: with no more inside than a batch takes, the first begins one by itself."""

    async def infer(self, seconds: float) -> None:
        await asyncio.sleep(0.002 * self.dice.random())
        await super().infer(seconds)


def told(
    batch: int,
    seconds: float,
    rate: float,
    places: int,
    lasts: float,
    *,
    kind: type[PretendBackend] = PretendBackend,
) -> float:
    """Pace that a gate learns under an open load before a backend."""
    paces: list[float] = []

    async def run() -> None:
        gate = Gate(places, 64, lambda *_: None)
        load = Load(gate, kind(batch, lambda n: seconds))
        running = asyncio.create_task(load.run(rate, lasts, 20.0))
        while not running.done():
            await asyncio.sleep(2.0)
            paces.append(gate.learn_pace())
        await load.settle()

    run_in_virtual_time(run())
    return min(paces[len(paces) // 2 :])


@pytest.mark.parametrize(
    ("batch", "seconds", "places"), [(1, 0.02, 1), (8, 0.05, 16), (16, 0.1, 64), (1, 2.0, 4)]
)
@pytest.mark.parametrize("load", [1.2, 3.0])
def test_the_pace_is_what_is_answered_while_some_wait(
    batch: int, seconds: float, places: int, load: float
) -> None:
    able = batch / seconds

    assert told(batch, seconds, load * able, places, 40.0 + 200.0 * seconds) == pytest.approx(able, rel=0.1)


def test_the_pace_is_not_that_of_fewer_places_which_are_only_tried() -> None:
    assert told(2, 0.2, 13.0, 4, 150.0, kind=Scattered) == pytest.approx(10.0, rel=0.1)


def test_without_anybody_who_waits_nothing_is_told_of_the_pace() -> None:
    assert told(8, 0.05, 10.0, 16, 40.0) == 0.0


def test_another_version_has_a_pace_of_its_own_and_the_same_one_keeps_it() -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        await asyncio.gather(*(replica.infer(call()) for _ in range(60)))
        pace = meter.report("me").pace
        assert pace == pytest.approx(4.0, rel=0.2)
        replica.switch(None)
        replica.switch(OLD)
        assert meter.report("me").pace == pace
        replica.switch(NEW)
        assert meter.report("me").pace == 0.0

    measured(story)


def test_a_failure_breaks_off_what_the_pace_is_learnt_from() -> None:
    """A server that hangs and then fails is not slow: it is dead."""

    async def run() -> None:
        gate = Gate(1, 8, lambda *_: None)
        clock = asyncio.get_running_loop().time
        assert gate.take(clock(), clock() + 100.0)
        waiting = asyncio.create_task(gate.wait(ANYONE, clock() + 100.0))
        await asyncio.sleep(10.0)
        gate.leave(0.0, clock(), 0, End.FAILED)
        await waiting
        assert (gate.learn_pace(), gate.pace.seconds) == (0.0, 0.0)

    run_in_virtual_time(run())


def test_a_report_says_how_long_the_first_load_took_at_the_least() -> None:
    async def story(meter: Meter, replica: OwnReplica, clock: Clock) -> None:
        assert meter.report("me", load_seconds=7.5).load_seconds == 7.5
        replica.first_served = meter._started + 12.0
        assert meter.report("me", load_seconds=7.5).load_seconds == pytest.approx(12.0)
        report = meter.report("me", ready=True)
        assert (report.instance, report.member, report.ready, report.limit) == ("me", "m", True, 2)

    measured(story)
