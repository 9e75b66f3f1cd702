"""What this machine has: processors, free memory, GPUs."""

import os
import shutil
import subprocess

import psutil

from fastserve.planning.facts import Machine


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
