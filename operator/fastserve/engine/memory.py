"""Resident memory of a process, from /proc. Bytes. Standard library only."""

import os
from pathlib import Path

PEAK_RESET = "5"
"""What /proc/PID/clear_refs takes to set the peak back to the present (proc(5))."""


def resident_bytes(pid: int) -> int:
    """The process's resident set now; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """The greatest resident set of this process since it began, or since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> None:
    """Set the peak back to the present resident set, where the kernel permits it."""
    try:
        Path("/proc/self/clear_refs").write_text(PEAK_RESET)
    except OSError:
        return


def host_memory(root: Path = Path("/")) -> tuple[int, int]:
    """Free and total bytes of this container: the tighter of its cgroup's limit and the machine's memory."""
    facts = _fields(root / "proc/meminfo", 1024)
    free, total = facts.get("MemAvailable:", 0), facts.get("MemTotal:", 0)
    groups = root / "sys/fs/cgroup"
    for limit, usage, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        most, used = _number(groups / limit), _number(groups / usage)
        if most is not None and used is not None and most < total:
            # What only caches files is given back before anybody is killed.
            used -= _fields(groups / stat, 1).get(cache, 0)
            return min(free, max(0, most - used)), most
    return free, total


def _number(path: Path) -> int | None:
    """None where there is no such file, or no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _fields(path: Path, unit: int) -> dict[str, int]:
    """Lines of a name and a number; empty where there is no such file."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) * unit for line in lines if len(line) >= 2 and line[1].isdigit()}
