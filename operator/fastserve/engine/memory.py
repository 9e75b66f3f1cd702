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
