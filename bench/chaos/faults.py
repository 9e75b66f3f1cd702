"""Faults, done to a running pool."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from chaos.world import Never, World

STEP_SECONDS = 60.0
DISK_BYTES = 1 << 20


class _Line(msgspec.Struct):
    """Of a router's log."""

    step: str = ""


def router_of(world: World, instance: str) -> psutil.Process:
    """The router beside a Triton."""
    router = world.process(f"{instance}-router")
    if router is None:
        raise Never(f"the router of {instance} does not run")
    return router


def stub_of(world: World, instance: str) -> psutil.Process:
    """The process that runs the model's Python."""
    children = world.triton(instance).children()
    return next(one for one in children if "python_backend_stub" in one.name())


def rank_of(world: World, instance: str) -> psutil.Process:
    """The last rank of the engine."""
    state = world.said(instance)
    if state is None or state.model is None or not state.model.ranks:
        raise Never(f"the router of {instance} tells of no ranks")
    return psutil.Process(state.model.ranks[-1].pid)


@contextmanager
def killed_at(world: World, instance: str, step: str) -> Iterator[None]:
    """Within the block, SIGKILL to the router as soon as its log says that it took this step. Raises Never
    where it did not."""
    log = world.log(instance)
    watching = _Watch(log, step, router_of(world, instance).kill)
    watching.start()
    try:
        yield
    finally:
        watching.join()
    if not watching.acted:
        raise Never(f"{instance} did not come to the step {step}")


class _Watch(threading.Thread):
    """Follows a router's log from its end on."""

    def __init__(self, log: Path, step: str, act: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._log, self._step, self._act = log.open("rb"), step, act
        self._log.seek(0, os.SEEK_END)
        self.acted = False

    def run(self) -> None:
        deadline = time.monotonic() + STEP_SECONDS
        with self._log:
            while not self.acted and time.monotonic() < deadline:
                line = self._log.readline()
                if not line:
                    time.sleep(0.002)
                elif _step_of(line) == self._step:
                    self._act()
                    self.acted = True


def _step_of(line: bytes) -> str:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(line, type=_Line).step
    return ""


def may_mount() -> bool:
    """Whether this process may mount a disk of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "tmpfs", folder]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


@contextmanager
def full_disk(world: World, instance: str) -> Iterator[None]:
    """Within the block, the disk that a Triton's models are written to is a small one, and full."""
    place = world.state / "tritons" / instance
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept"
        shutil.copytree(place, kept, symlinks=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], check=True)
        try:
            shutil.copytree(kept, place, symlinks=True, dirs_exist_ok=True)
            with suppress(OSError), (place / ".full").open("wb", buffering=0) as filling:
                while filling.write(bytes(4096)):
                    pass
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def ill(illnesses: Path, instance: str, illness: str) -> Iterator[None]:
    """Within the block, the model of this instance is "slow" (ten times) or "failing half"."""
    place = illnesses / instance
    place.write_text(illness)
    try:
        yield
    finally:
        place.unlink()
