"""Processes of this machine that are a container's, for a story that kills them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from harness.kubectl import Manifest


def processes_of(pod: Manifest, module: str) -> list[int]:
    """Those of the pod's containers that run this module of ours."""
    numbers = list(_containers(pod))
    found = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _runs(folder, numbers, module.encode())
    ]
    assert found, f"no process of pod {pod['metadata']['name']} runs {module}"
    return found


def kill(processes: list[int]) -> None:
    """With SIGKILL; one that is gone by now counts as killed."""
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _containers(pod: Manifest) -> Iterator[str]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for one in pod["status"].get(kind, []):
            number = one.get("containerID", "").partition("://")[2]
            if number:
                yield number


def _runs(folder: Path, containers: list[str], module: bytes) -> bool:
    try:
        group = (folder / "cgroup").read_text()
        return any(one in group for one in containers) and module in (folder / "cmdline").read_bytes()
    except OSError:
        return False
