"""What `fastserve status` tells, from what supervisor and routers say."""

from pathlib import Path
from typing import Any

import pytest

from fastserve.api.state import RouterState, SwapState, VersionState
from fastserve.local.documents import (
    CRASHES,
    ExchangeNote,
    Exchanges,
    PoolPlace,
    ProcessKind,
    RejectedMember,
    ReplicaCount,
    RouterPlace,
    RunningProcess,
    Session,
)
from fastserve.local.overview import MemberRow, Overview, overview
from fastserve.local.pool_files import write_exchanges

DOOR = RouterPlace(instance="news-door", data="127.0.0.1:1", admin="127.0.0.1:2")
SPORT = RouterPlace(instance="sport-0", member="sport", data="127.0.0.1:3", admin="127.0.0.1:4")
REJECTED = RejectedMember(name="world", reason="InvalidSpec", message="spec.parallelism.tensor: 5")


def process(name: str, starts: int = 1, last_exit: str = "", quick_deaths: int = 0) -> RunningProcess:
    kind = ProcessKind.TRITON if name.endswith("triton") else ProcessKind.ROUTER
    return RunningProcess(
        name=name, kind=kind, pid=7, starts=starts, last_exit=last_exit, quick_deaths=quick_deaths
    )


def session(*processes: RunningProcess) -> Session:
    pool = PoolPlace(name="news", routers=(DOOR, SPORT), rejected=(REJECTED,))
    return Session(pid=1, created=0.0, pools=(pool,), processes=processes)


def state(*, ready: bool = False, live: bool = True, phase: str | None = None) -> RouterState:
    document: dict[str, Any] = {"pool": "news", "instance": "sport-0", "member": "sport", "ready": ready}
    document |= {"because": "because of something", "tritonLive": live}
    if phase:
        load = {"phase": phase, "bytesDone": 1, "bytesTotal": 4}
        ranks = [{"rank": 0, "pid": 9, "device": "cpu", "memoryBytes": 100}]
        document["model"] = {
            "name": "sport-1",
            "digest": "d",
            "version": "v",
            "load": load,
            "ranks": ranks,
            "restarts": 2,
        }
    return RouterState.model_validate(document)


def sport(told: RouterState | None, *processes: RunningProcess) -> MemberRow:
    return whole(told, *processes).pools[0].members[0]


def whole(told: RouterState | None, *processes: RunningProcess) -> Overview:
    return overview(session(*processes), {"sport-0": told, "news-door": None}, {"sport-0-triton": 1000})


@pytest.mark.parametrize(
    ("told", "phase"),
    [
        (state(ready=True, phase="Loaded"), "Ready"),
        (state(phase="Loading"), "Loading"),
        (state(phase="FailedToLoad"), "FailedToLoad"),
        (state(phase="Loaded"), "Down"),
        (state(live=False, phase="Loaded"), "Starting"),
        (None, "Starting"),
    ],
)
def test_the_phase_follows_what_the_router_says(told: RouterState | None, phase: str) -> None:
    assert sport(told, process("sport-0-router")).phase == phase


def test_a_router_that_ended_and_does_not_answer_is_down_and_the_exit_is_told() -> None:
    row = sport(None, process("sport-0-router", starts=2, last_exit="signal SIGKILL"))
    assert (row.phase, row.because, row.restarts) == ("Down", "sport-0-router: signal SIGKILL", 1)


def test_memory_and_restarts_are_summed_over_the_parts_of_a_replica() -> None:
    row = sport(state(ready=True, phase="Loaded"), process("sport-0-router", 2), process("sport-0-triton", 3))
    assert (row.memory_bytes, row.restarts) == (1100, 5)


def test_a_rejected_member_is_told_with_its_reason() -> None:
    row = whole(None).pools[0].members[1]
    assert (row.phase, row.because) == ("Rejected", "InvalidSpec: spec.parallelism.tensor: 5")


def test_a_pool_is_settled_only_when_nothing_is_under_way() -> None:
    assert not whole(state(phase="Loading")).pools[0].settled
    assert whole(state(phase="FailedToLoad")).pools[0].settled


@pytest.mark.parametrize("told", [None, state(live=False)])
def test_a_triton_that_never_comes_up_is_told_and_nobody_waits_for_it(told: RouterState | None) -> None:
    triton = process("sport-0-triton", 5, "exit code 1", quick_deaths=CRASHES)
    row = sport(told, process("sport-0-router"), triton)
    assert row.phase == "Crashing"
    assert "sport-0-triton ended 4 times" in row.because
    assert "(exit code 1); see `fastserve logs sport-0-triton`" in row.because
    assert whole(told, triton).pools[0].settled


def test_a_door_that_cannot_listen_is_told_and_nobody_waits_for_it() -> None:
    loaded = state(ready=True, phase="Loaded")
    assert not whole(loaded, process("news-door", 2, "exit code 3", 1)).pools[0].settled
    pool = whole(loaded, process("news-door", 5, "exit code 3", CRASHES)).pools[0]
    assert (pool.settled, "exit code 3" in pool.because) == (True, True)


def exchanging(folder: Path, note: ExchangeNote, said: RouterState) -> MemberRow:
    """The row of sport while the session's process has noted this, and its router says that."""
    write_exchanges(folder, Exchanges(members={"sport": note}))
    pool = PoolPlace(name="news", folder=folder, routers=(DOOR, SPORT))
    running = Session(pid=1, created=0.0, pools=(pool,), processes=())
    return overview(running, {"sport-0": said}, {}).pools[0].members[0]


def test_both_versions_and_the_way_between_them_are_told(tmp_path: Path) -> None:
    versions = tuple(
        VersionState(digest=name, version=name, phase="Loaded", active=True, share=share)
        for name, share in (("new", 0.1), ("old", 0.9))
    )
    swap = SwapState(phase="Canary", since="", because="it is tried")
    said = state(ready=True, phase="Loaded").model_copy(update={"versions": versions, "swap": swap})
    row = exchanging(tmp_path, ExchangeNote(phase="Canary", because="new takes the place of old"), said)
    assert (row.version, row.phase) == ("old, new", "Ready")
    assert row.exchange == "new takes the place of old (Canary: it is tried)"


def test_at_rest_nothing_is_told_of_versions(tmp_path: Path) -> None:
    note = ExchangeNote(phase="Rest", because="the stable version is the wanted one")
    assert exchanging(tmp_path, note, state(ready=True, phase="Loaded")).exchange == ""


def scaled(count: ReplicaCount, *routers: RouterPlace, told: RouterState | None = None) -> Overview:
    """A pool whose sub-model sport is scaled, its door ready."""
    pool = PoolPlace(name="news", routers=(DOOR, *routers), counts={"sport": count})
    running = Session(pid=1, created=0.0, pools=(pool,), processes=())
    return overview(running, {"news-door": state(ready=True), "sport-0": told}, {})


def test_replicas_are_told_as_ready_and_wanted() -> None:
    pool = scaled(ReplicaCount(replicas=2), SPORT, told=state(ready=True, phase="Loaded")).pools[0]
    assert [(one.sub_model, one.ready, one.wanted) for one in pool.replicas] == [("sport", 1, 2)]
    one = whole(state(ready=True, phase="Loaded")).pools[0].replicas[0]
    assert (one.sub_model, one.ready, one.wanted) == ("sport", 1, 1)


def test_a_sleeper_is_told_and_nobody_waits_for_it() -> None:
    pool = scaled(ReplicaCount(replicas=0)).pools[0]
    assert [(row.sub_model, row.phase) for row in pool.members] == [("sport", "Asleep")]
    assert pool.settled
    assert not pool.model_copy(update={"ready": False}).settled


def test_replicas_that_do_not_fit_are_told_with_why() -> None:
    count = ReplicaCount(replicas=3, unplaced=2, because="a replica takes 1 GPUs, and 0 are free")
    pool = scaled(count, SPORT, told=state(ready=True, phase="Loaded")).pools[0]
    assert [row.phase for row in pool.members] == ["Ready", "Unplaced"]
    assert pool.members[1].because == (
        "2 of its 3 replicas do not fit: a replica takes 1 GPUs, and 0 are free"
    )
    assert (pool.replicas[0].unplaced, pool.settled) == (2, True)
