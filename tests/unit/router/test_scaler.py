"""The router that holds the Lease scales, and no other one. In virtual time."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fastserve.api.objects import ObjectKey
from fastserve.api.routes import RouteTable
from fastserve.api.scaling import (
    ROW_SECONDS,
    PoolScaling,
    ScalingDecision,
    ScalingMode,
    ScalingState,
    Staff,
)
from fastserve.cluster.leasing import Leadership, LeaseLost
from fastserve.errors import Conflict
from fastserve.router.pool import Pool
from fastserve.router.scaling import deciding
from fastserve.router.scaling.exporting import ScalingMetrics
from fastserve.router.scaling.polling import LoadSource
from fastserve.router.scaling.scaler import Scaler, ScalerParts
from fastserve.router.scaling.wiring import LEASE_TIMES
from fastserve.router.scaling.writing import ClusterWriter, FileWriter
from fastserve.scaling.decide import decide
from fastserve.scaling.ledger import Ledger
from scaling_cluster import ScaleServer, free_lease
from scaling_tables import scaled_table
from scaling_world import START, door_row, own_row, report
from virtual_time import run_in_virtual_time

KEY = ObjectKey("default", "news-p-scaling")


@dataclass
class Load:
    """What routers tell of "sport": `rate` requests per second, spread over its replicas."""

    replicas: Callable[[], int]
    rate: float = 5.0
    ready: bool = True
    held: int = 0
    silent: bool = False

    name: Any = "Routers"
    problem: str = ""
    lag: float = 0.0
    looks: int = 0

    async def look(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.looks += 1
        if self.silent:
            raise RuntimeError("a fault of a source")
        now, names = clock(), [f"sport-{i}" for i in range(self.replicas())]
        ledger.expected = frozenset({"door", *names})
        newest = int(now // ROW_SECONDS) * ROW_SECONDS
        slots = range(newest - 30, newest, ROW_SECONDS)
        each = int(self.rate * ROW_SECONDS / max(1, len(names)))
        for name in names:
            rows = [own_row(at, each) for at in slots]
            told = report(name, rows, now=now, ready=self.ready, pace=40.0, load_seconds=5.0)
            ledger.take(told, now)
        doors = [door_row(at, dict.fromkeys(names, each)) for at in slots]
        ledger.take(report("door", doors, member=None, now=now, held={"sport": self.held}), now)

    def close(self) -> None:
        pass


class Begun:
    """A source of that load."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load, name)


@dataclass
class World:
    """Routers of one pool, and the API server. The table follows what is written, as the operator would."""

    server: ScaleServer
    table: RouteTable = field(default_factory=lambda: scaled_table({"sport": Staff(least=1, most=8)}))
    followed: bool = True
    back: float = 0.0
    """By which the clock was put back."""
    load: Load = field(init=False)

    def __post_init__(self) -> None:
        self.load = Load(lambda: self.server.replicas["sport"])

    def pool(self) -> Pool:
        world = self

        class Following:
            @property
            def snapshot(self) -> Any:
                return SimpleNamespace(table=world.told())

        return cast("Pool", Following())

    def told(self) -> RouteTable:
        if not self.followed:
            return self.table
        members = tuple(
            one.model_copy(update={"staff": self.staff(one.name, one.staff) if one.staff else None})
            for one in self.table.members
        )
        return self.table.model_copy(update={"members": members})

    def staff(self, name: str, staff: Staff) -> Staff:
        asked = self.server.replicas[name]
        within = min(staff.most, max(staff.least, asked))
        return staff.model_copy(update={"replicas": within, "asked": asked})

    def scaler(self, name: str, **more: Any) -> Scaler:
        door, loop = self.server.by(name), asyncio.get_running_loop()
        leadership = Leadership(door, KEY, name, LEASE_TIMES)
        parts = ScalerParts(
            self.pool(),
            more.pop("metrics", None) or ScalingMetrics(CollectorRegistry()),
            ClusterWriter(door, "default", name),
            lambda _: cast("LoadSource", Begun(self.load)),
            leadership,
            clock=lambda: START + loop.time() - self.back,
            **more,
        )
        return Scaler(parts)


def world(**more: Any) -> World:
    return World(ScaleServer({"sport": 1}, free_lease()), **more)


def test_load_scales_up_and_its_end_scales_down() -> None:
    async def main() -> None:
        here = world()
        scaler = here.scaler("a")
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(60)
        assert here.server.writes == []
        here.load.rate = 130.0
        await asyncio.sleep(8)
        assert here.server.replicas["sport"] >= 4
        event = here.server.events[0]
        assert (event["reason"], event["regarding"]["name"]) == ("ScaledUp", "sport")
        assert event["note"].startswith("from 1 to ")
        here.load.rate = 0.0
        await asyncio.sleep(400)
        assert here.server.replicas["sport"] == 1
        lease = here.server.lease or {}
        assert lease["metadata"]["ownerReferences"] == free_lease()["metadata"]["ownerReferences"]
        task.cancel()

    run_in_virtual_time(main())


def test_the_next_one_decides_within_17_seconds_and_nobody_writes_twice() -> None:
    async def main() -> None:
        for killed_after in range(40, 48):
            here = world()
            first = asyncio.create_task(here.scaler("a").run())
            await asyncio.sleep(1)
            second = asyncio.create_task(here.scaler("b").run())
            await asyncio.sleep(killed_after)
            cut = here.server.by("a")
            assert cut is not None
            # Killed: it neither gives the Lease back nor says anything.
            lease = dict(here.server.lease or {})
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            here.server.lease = lease
            here.load.rate = 130.0
            killed = asyncio.get_running_loop().time()
            await asyncio.sleep(17.0)
            assert [who for who, *_ in here.server.writes] == ["b"]
            assert here.server.writes[0][3] - killed <= 17.0
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)

    run_in_virtual_time(main())


def test_two_never_scale_at_once() -> None:
    async def main() -> None:
        here = world()
        tasks = [asyncio.create_task(here.scaler(name).run()) for name in "abc"]
        for rate in (5.0, 200.0, 5.0, 300.0):
            here.load.rate = rate
            await asyncio.sleep(120)
        assert len({who for who, *_ in here.server.writes}) == 1
        for task in tasks:
            task.cancel()

    run_in_virtual_time(main())


def test_a_holder_that_reads_and_writes_too_late_changes_nothing() -> None:
    """It stops between reading /scale and writing it, for longer than the Lease lasts."""

    async def main() -> None:
        server = ScaleServer({"sport": 1}, free_lease())
        door = server.by("old")
        door.after_read = asyncio.Event()
        decision = ScalingDecision(
            member="sport", replicas=7, reason="Demand", message="", time="2026-01-01T00:00:00Z"
        )
        late = asyncio.create_task(ClusterWriter(door, "default", "old").write(decision, 1, lambda: None))
        await asyncio.sleep(1)
        await ClusterWriter(server.by("new"), "default", "new").write(
            decision.model_copy(update={"replicas": 2}), 1, lambda: None
        )
        door.after_read.set()
        with pytest.raises(Conflict):
            await late
        assert server.replicas == {"sport": 2}

    run_in_virtual_time(main())


def test_nothing_is_written_when_the_lease_was_lost_while_scale_was_read() -> None:
    async def main() -> None:
        server = ScaleServer({"sport": 1}, free_lease())

        def lost() -> None:
            raise LeaseLost("another one holds it")

        decision = ScalingDecision(
            member="sport", replicas=7, reason="Demand", message="", time="2026-01-01T00:00:00Z"
        )
        with pytest.raises(LeaseLost):
            await ClusterWriter(server.by("old"), "default", "old").write(decision, 1, lost)
        assert server.replicas == {"sport": 1}

    run_in_virtual_time(main())


def test_who_loses_the_lease_stops_at_once() -> None:
    async def main() -> None:
        here = world()
        scaler = here.scaler("a")
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(30)
        assert scaler.state is not None
        assert scaler.state.holder
        lease = here.server.lease or {}
        lease["spec"]["holderIdentity"] = "b"
        lease["metadata"]["resourceVersion"] = "99"
        here.load.rate = 200.0
        looks = here.load.looks
        await asyncio.sleep(LEASE_TIMES.renew + 1)
        assert scaler.state == ScalingState(holder=False)
        assert here.load.looks <= looks + 3
        assert not task.done()
        task.cancel()

    run_in_virtual_time(main())


def test_an_api_server_that_is_away_loses_nothing() -> None:
    async def main() -> None:
        here = world()
        task = asyncio.create_task(here.scaler("a").run())
        await asyncio.sleep(30)
        here.server.away, here.load.rate = True, 130.0
        await asyncio.sleep(60)
        assert here.server.writes == []
        here.server.away = False
        await asyncio.sleep(20)
        assert here.server.replicas["sport"] >= 4
        task.cancel()

    run_in_virtual_time(main())


def test_a_source_that_fails_holds_and_says_so_and_ends_nothing() -> None:
    async def main() -> None:
        here = world()
        scaler = here.scaler("a")
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(30)
        here.load.silent, here.load.rate = True, 300.0
        await asyncio.sleep(60)
        assert here.server.writes == []
        assert scaler.state is not None
        assert [one.reason for one in scaler.state.decisions] == ["MetricsMissing"]
        here.load.silent = False
        await asyncio.sleep(10)
        assert here.server.writes
        task.cancel()

    run_in_virtual_time(main())


def test_somebody_who_waits_for_a_sleeper_is_not_kept_waiting() -> None:
    async def main() -> None:
        here = world(table=scaled_table({"sport": Staff(least=0, most=8)}))
        here.server.replicas["sport"], here.load.ready, here.load.rate = 0, False, 0.0
        scaler = here.scaler("a")
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(30)
        here.load.held = 1
        asked = asyncio.get_running_loop().time()
        scaler.hurry()
        await asyncio.sleep(0.1)
        assert here.server.writes == [("a", "sport", 1, asked)]
        task.cancel()

    run_in_virtual_time(main())


def test_external_mode_only_tells() -> None:
    async def main() -> None:
        staff = Staff(mode=ScalingMode.EXTERNAL, least=1, most=8)
        here, registry = world(table=scaled_table({"sport": staff})), CollectorRegistry()
        here.load.rate = 130.0
        task = asyncio.create_task(here.scaler("a", metrics=ScalingMetrics(registry)).run())
        await asyncio.sleep(30)
        assert here.server.writes == []
        told = generate_latest(registry).decode()
        assert 'fastserve_desired_replicas{submodel="sport"} 4.0' in told
        assert 'fastserve_scaling_reason{reason="Demand",submodel="sport"} 1.0' in told
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert "sport" not in generate_latest(registry).decode()

    run_in_virtual_time(main())


def test_one_that_goes_second_gives_the_lease_back() -> None:
    async def main() -> None:
        here, first_is_there = world(), [False]
        scaler = here.scaler("member", may_stay=lambda: not first_is_there[0])
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(10)
        assert ((here.server.lease or {})["spec"])["holderIdentity"] == "member"
        first_is_there[0] = True
        standby = asyncio.create_task(here.scaler("standby").run())
        await asyncio.sleep(5)
        assert ((here.server.lease or {})["spec"])["holderIdentity"] == "standby"
        task.cancel()
        standby.cancel()

    run_in_virtual_time(main())


def test_scarce_gpus_are_shared() -> None:
    async def main() -> None:
        staff = Staff(least=1, most=8, gpus=1)
        table = scaled_table({"sport": staff, "world": staff}, PoolScaling(max_gpus=3))
        here = world(table=table)
        here.server.replicas["world"] = 1
        here.load.rate = 300.0
        scaler = here.scaler("a")
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(30)
        assert here.server.replicas == {"sport": 2, "world": 1}
        assert scaler.state is not None
        assert {one.member: one.reason for one in scaler.state.decisions}["sport"] == "Budget"
        task.cancel()

    run_in_virtual_time(main())


def test_what_was_written_counts_until_the_table_says_it() -> None:
    async def main() -> None:
        here = world(followed=False)
        here.load.rate = 130.0
        task = asyncio.create_task(here.scaler("a").run())
        await asyncio.sleep(9)
        assert len(here.server.writes) == 1
        task.cancel()

    run_in_virtual_time(main())


def test_what_was_written_counts_no_longer_where_the_clock_was_put_back() -> None:
    staff, now = Staff(least=1, most=8, replicas=1, asked=1), START + 5000.0
    (member,) = (one for one in scaled_table({"sport": staff}).members if one.name == "sport")
    decider, table = deciding.Decider(), scaled_table({"sport": staff})

    def asked(at: float) -> int:
        one = decider.reckon(member, staff, Ledger(), deciding.Source(at))
        return decider.settle(table, [one], at)[0].asked

    assert asked(now) == 1
    decider.wrote(
        ScalingDecision(member="sport", replicas=3, wanted=3, reason="Demand", message="", time=""), now
    )
    assert (asked(now + 1), asked(now - 3), asked(now + 11), asked(now - 3600)) == (3, 3, 1, 1)


@pytest.mark.parametrize(("back", "sources"), [(3600, 2), (13, 2), (3, 1)])
def test_where_the_clock_is_put_back_all_is_read_anew(back: float, sources: int) -> None:
    """Its slots would come once more."""
    ledgers: list[Ledger] = []

    async def main() -> None:
        here = world()
        look = here.load.look

        async def looked(ledger: Ledger, clock: Callable[[], float]) -> None:
            if ledger not in ledgers:
                ledgers.append(ledger)
            await look(ledger, clock)

        here.load.look = looked  # type: ignore[method-assign]
        task = asyncio.create_task(here.scaler("a").run())
        await asyncio.sleep(9)
        here.back = back
        await asyncio.sleep(9)
        task.cancel()

    run_in_virtual_time(main())
    assert len(ledgers) == sources


async def test_local_mode_writes_a_file_that_is_always_whole(tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    writer = FileWriter(path)
    for name, replicas in (("sport", 2), ("world", 0), ("sport", 3)):
        decision = ScalingDecision(
            member=name, replicas=replicas, reason="Demand", message="", time="2026-01-01T00:00:00Z"
        )
        await writer.write(decision, 1, lambda: None)
    assert json.loads(path.read_text()) == {"replicas": {"sport": 3, "world": 0}}


def test_a_spec_below_the_bounds_is_brought_up_to_what_runs() -> None:
    """Or a lower bound that is set to 0 later would end all replicas at once."""

    async def main() -> None:
        here = world()
        here.server.replicas["sport"] = 0
        task = asyncio.create_task(here.scaler("a").run())
        await asyncio.sleep(5)
        assert here.server.replicas["sport"] == 1
        task.cancel()

    run_in_virtual_time(main())


def test_whoever_hurries_is_not_let_look_all_the_time() -> None:
    async def main() -> None:
        here = world(table=scaled_table({"sport": Staff(least=0, most=8)}))
        here.server.replicas["sport"], here.load.rate, here.load.held = 0, 0.0, 1
        here.server.away = False
        scaler = here.scaler("a")
        task = asyncio.create_task(scaler.run())
        await asyncio.sleep(1)
        before = here.load.looks
        for _ in range(200):
            scaler.hurry()
            await asyncio.sleep(0.01)
        assert here.load.looks - before <= 10
        task.cancel()

    run_in_virtual_time(main())


def test_a_fault_in_one_sub_model_is_no_other_ones_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        staff = Staff(least=1, most=8)
        here = world(table=scaled_table({"odd": staff, "sport": staff}))
        here.server.replicas["odd"] = 1
        here.load.rate = 130.0

        def fails_for_one(samples: Any, standing: Any, bounds: Any, now: float) -> Any:
            if not any(one.arrivals_high for one in samples):
                raise OverflowError("a figure")
            return decide(samples, standing, bounds, now)

        monkeypatch.setattr(deciding, "decide", fails_for_one)
        task = asyncio.create_task(here.scaler("a").run())
        await asyncio.sleep(20)
        assert here.server.replicas["sport"] >= 4
        assert here.server.replicas["odd"] == 1
        task.cancel()

    run_in_virtual_time(main())


def test_the_budget_takes_no_last_replica_of_one_that_works() -> None:
    async def main() -> None:
        staff = Staff(least=0, most=8, gpus=1)
        table = scaled_table({"sport": staff, "world": staff}, PoolScaling(max_gpus=2))
        here = world(table=table)
        here.server.replicas["world"] = 1
        here.load.rate = 300.0
        task = asyncio.create_task(here.scaler("a").run())
        await asyncio.sleep(60)
        assert here.server.replicas == {"sport": 1, "world": 1}
        task.cancel()

    run_in_virtual_time(main())
