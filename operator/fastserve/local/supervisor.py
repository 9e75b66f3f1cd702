"""Keeps the processes of one launch running, and ends all of them.

A process that ends is started again after a back-off. Every process gets a session of its own, so that
whatever it started can be ended with it, and asks the kernel to be ended when the supervisor dies.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fastserve.local.documents import Launch, ProcessKind, ProcessSpec, RunningProcess

FIRST_DELAY, LAST_DELAY = 0.1, 10.0
STEADY_SECONDS = 30.0
"""A process that ran this long did not crash: its earlier deaths are forgotten."""
UNPAUSED_SECONDS = 10.0
"""One that ran this long starts again after the shortest delay, however often it died."""
KILL_AFTER = 35.0
"""Seconds from asking to killing: Triton's own exit timeout plus a reserve."""
PR_SET_PDEATHSIG = 1
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps it
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Runs in the child before exec: the kernel sends it SIGTERM when its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def restart_delay(quick_deaths: int) -> float:
    """Seconds before the next start, after so many quick deaths in a row."""
    return min(LAST_DELAY, FIRST_DELAY * 2.0 ** max(0, quick_deaths - 1))


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@dataclass
class Keeper:
    """One process, kept running until told to stop."""

    spec: ProcessSpec
    environment: Mapping[str, str]
    changed: Callable[[], None]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    last_exit: str = ""
    quick_deaths: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            self.starts += 1
            self.last_exit = await self._live()
            lived = time.monotonic() - began
            self.quick_deaths = 0 if lived > STEADY_SECONDS else self.quick_deaths + 1
            self.changed()
            pause = FIRST_DELAY if lived > UNPAUSED_SECONDS else restart_delay(self.quick_deaths)
            await _within(self.stopping, pause)
        self.ended.set()

    def state(self) -> RunningProcess:
        return RunningProcess(
            name=self.spec.name,
            kind=self.spec.kind,
            pid=self.process.pid if self.process else None,
            starts=self.starts,
            last_exit=self.last_exit,
            quick_deaths=self.quick_deaths,
        )

    async def stop(self, patience: float = KILL_AFTER) -> None:
        """SIGTERM, wait, SIGKILL to the whole session."""
        self.stopping.set()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
        await _within(self.ended, patience)
        if self.process is not None:
            _kill_session(self.process.pid)
            await self.ended.wait()

    async def _live(self) -> str:
        """Run the process once; how it ended. One that cannot be started ended at once: nobody else is to
        end because the machine has no room for it."""
        try:
            process = self.process = self._start()
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        self.changed()
        code = await _end_of(process)
        self._clean_up(process)
        self.process = None
        return describe_exit(code)

    def _start(self) -> subprocess.Popen[bytes]:
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        with self.spec.log.open("ab") as log:
            return subprocess.Popen(
                self.spec.arguments,
                env={**self.environment, **self.spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
            )

    def _clean_up(self, process: subprocess.Popen[bytes]) -> None:
        """End what the process left behind: its children, and Triton's shared memory."""
        _kill_session(process.pid)
        if self.spec.shm_prefix:
            for region in SHARED_MEMORY.glob(f"{self.spec.shm_prefix}*"):
                region.unlink(missing_ok=True)


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process without polling; returns its exit code (negative: the signal)."""
    descriptor = os.pidfd_open(process.pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


async def _within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class Supervisor:
    """All processes of a launch. `changed` is called whenever one starts or ends; `environment` is what
    every process starts from."""

    def __init__(
        self,
        launch: Launch,
        environment: Mapping[str, str],
        changed: Callable[[tuple[RunningProcess, ...]], None],
    ) -> None:
        self._changed = changed
        self._environment = environment
        self._keepers: list[Keeper] = []
        self._group: asyncio.TaskGroup | None = None
        self._ending = False
        for spec in launch.processes:
            self.start(spec)

    def processes(self) -> tuple[RunningProcess, ...]:
        return tuple(keeper.state() for keeper in self._keepers)

    def start(self, spec: ProcessSpec) -> None:
        """Keep one more process running, from now on or from `run` on; not while everything ends."""
        if self._ending:
            return
        keeper = Keeper(spec, self._environment, self._tell)
        self._keepers.append(keeper)
        if self._group is not None:
            self._group.create_task(keeper.run())

    async def end(self, name: str, patience: float = KILL_AFTER) -> None:
        """End that process for good; returns when it is gone. One that does not go is killed after so many
        seconds of `patience`."""
        for keeper in [one for one in self._keepers if one.spec.name == name]:
            await keeper.stop(patience)
            self._keepers.remove(keeper)
        self._tell()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; then doors drain and end first, other routers next, Tritons last."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for keeper in self._keepers:
                group.create_task(keeper.run())
            await stop.wait()
            self._ending = True
            for kind in (ProcessKind.DOOR, ProcessKind.ROUTER, ProcessKind.TRITON):
                ending = [k for k in self._keepers if k.spec.kind is kind]
                await asyncio.gather(*(keeper.stop() for keeper in ending))

    def _tell(self) -> None:
        self._changed(self.processes())
