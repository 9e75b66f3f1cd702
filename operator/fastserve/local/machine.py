"""What this machine has: processors, free memory, GPUs."""

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass

import psutil

from fastserve.planning.facts import Machine


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    available: int


def memory_now() -> Memory:
    seen = psutil.virtual_memory()
    return Memory(seen.total, seen.available)


def resident_bytes(pid: int | None) -> int:
    """Resident memory of a process and of all that it started; 0 where it is gone."""
    if pid is None:
        return 0
    try:
        process = psutil.Process(pid)
        return sum(_resident(one) for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def this_machine(visible_devices: str | None) -> Machine:
    """`visible_devices` is the value of CUDA_VISIBLE_DEVICES, None where it is not set."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().available,
        gpus=gpus(visible_devices),
    )


def gpus(visible_devices: str | None) -> tuple[str, ...]:
    """Devices a process may use, as entries for CUDA_VISIBLE_DEVICES."""
    if visible_devices is not None:
        return tuple(entry.strip() for entry in visible_devices.split(",") if entry.strip())
    query = shutil.which("nvidia-smi")
    if query is None:
        return ()
    done = subprocess.run(
        [query, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return tuple(line.strip() for line in done.stdout.splitlines() if line.startswith("GPU-"))
