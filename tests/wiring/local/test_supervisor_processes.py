"""The supervisor with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fastserve.local.documents import Launch, PoolPlace, ProcessKind, ProcessSpec, RouterPlace
from fastserve.local.supervisor import Supervisor

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
PARENT = (
    sys.executable,
    "-c",
    "import subprocess as s, time; print(s.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)",
)


def spec(folder: Path, arguments: tuple[str, ...] = SLEEPER, **more: str) -> ProcessSpec:
    return ProcessSpec(
        name="one", kind=ProcessKind.TRITON, arguments=arguments, log=folder / "one.log", **more
    )


def launch(*specs: ProcessSpec) -> Launch:
    door = RouterPlace(instance="door", data="127.0.0.1:1", admin="127.0.0.1:2")
    return Launch(pools=(PoolPlace(name="p", routers=(door,)),), processes=specs)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def running(supervisor: Supervisor, check: Callable[[], object]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    try:
        await until(lambda: supervisor.processes()[0].pid is not None)
        result = check()
        if asyncio.iscoroutine(result):
            await result
    finally:
        stop.set()
        await task


async def test_a_killed_process_is_started_again_and_its_end_is_told(tmp_path: Path) -> None:
    supervisor = Supervisor(launch(spec(tmp_path)), os.environ, lambda _: None)

    async def check() -> None:
        first = supervisor.processes()[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.processes()[0].pid not in (None, first))
        assert (supervisor.processes()[0].starts, supervisor.processes()[0].last_exit) == (
            2,
            "signal SIGKILL",
        )

    await running(supervisor, check)


async def test_nothing_is_left_after_stop_and_children_of_a_killed_process_end_too(tmp_path: Path) -> None:
    supervisor = Supervisor(launch(spec(tmp_path, PARENT)), os.environ, lambda _: None)
    grandchildren: list[int] = []

    async def check() -> None:
        log = tmp_path / "one.log"
        await until(lambda: log.exists() and bool(log.read_text().strip()))
        grandchildren.append(int(log.read_text().split()[0]))
        os.kill(supervisor.processes()[0].pid or 0, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(grandchildren[0]) or _zombie(grandchildren[0]))

    await running(supervisor, check)
    assert supervisor.processes()[0].pid is None


def _zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_shared_memory_that_a_killed_process_leaves_is_removed(tmp_path: Path) -> None:
    prefix = f"fastserve-test-{os.getpid()}-"
    region = Path("/dev/shm") / f"{prefix}region"
    region.write_bytes(b"left")
    supervisor = Supervisor(launch(spec(tmp_path, shm_prefix=prefix)), os.environ, lambda _: None)
    await running(supervisor, lambda: None)
    assert not region.exists()


async def test_one_more_process_is_kept_running_and_ended_for_good(tmp_path: Path) -> None:
    supervisor = Supervisor(launch(spec(tmp_path)), os.environ, lambda _: None)

    async def check() -> None:
        supervisor.start(spec(tmp_path).model_copy(update={"name": "two"}))
        await until(lambda: len(supervisor.processes()) == 2 and supervisor.processes()[1].pid is not None)
        pid = supervisor.processes()[1].pid
        assert pid is not None
        await supervisor.end("two")
        assert [one.name for one in supervisor.processes()] == ["one"]
        assert not psutil.pid_exists(pid)

    await running(supervisor, check)


async def test_while_everything_ends_nothing_is_started(tmp_path: Path) -> None:
    supervisor = Supervisor(launch(spec(tmp_path)), os.environ, lambda _: None)
    await running(supervisor, lambda: None)
    supervisor.start(spec(tmp_path).model_copy(update={"name": "two"}))
    assert [one.name for one in supervisor.processes()] == ["one"]


@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_when_the_supervisor_is_killed_its_processes_end_too(tmp_path: Path, number: signal.Signals) -> None:
    launch_file = tmp_path / "launch.json"
    launch_file.write_text(launch(spec(tmp_path, PARENT)).model_dump_json())
    arguments = [sys.executable, "-m", "fastserve.local", str(launch_file), str(tmp_path / "session.json")]
    with subprocess.Popen(arguments) as supervisor:

        async def check() -> None:
            log = tmp_path / "one.log"
            await until(lambda: log.exists() and bool(log.read_text().strip()))
            child = psutil.Process(supervisor.pid).children()[0]
            supervisor.send_signal(number)
            await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)

        asyncio.run(check())
        for process in psutil.process_iter(["pid"]):
            if process.pid == int((tmp_path / "one.log").read_text().split()[0]):
                process.kill()


async def test_one_that_cannot_be_started_ends_no_other_and_is_tried_again(tmp_path: Path) -> None:
    broken = ProcessSpec(
        name="two",
        kind=ProcessKind.TRITON,
        arguments=(str(tmp_path / "nowhere"),),
        log=tmp_path / "two.log",
    )
    supervisor = Supervisor(launch(spec(tmp_path), broken), os.environ, lambda _: None)

    async def check() -> None:
        await until(lambda: supervisor.processes()[1].starts > 1)
        told = supervisor.processes()[1]
        assert told.last_exit == "it cannot be started: No such file or directory"
        assert supervisor.processes()[0].pid is not None

    await running(supervisor, check)
