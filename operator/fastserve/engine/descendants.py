"""Every process below one, whatever session or group it made for itself, and their end. Standard library
only, and Linux: it reads /proc, and relies on being the one to whom orphans are given."""

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 0.01
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """From now on a process below this one whose parent ends becomes this one's child, so that nothing that
    was started here is out of sight. Raises OSError."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with(parent: int) -> None:
    """For a new child before it runs its program: the kernel kills it when `parent` ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def below(root: int) -> frozenset[int]:
    """Pids of the processes below `root` that have not ended; those that only wait to be reaped have."""
    children: dict[int, list[int]] = {}
    ended: set[int] = set()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended while we looked
            # The name in brackets may hold anything, brackets and blanks too.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(entry.name))
            if state in "ZX":
                ended.add(int(entry.name))
    found: set[int] = set()
    left = [root]
    while left:
        young = [pid for pid in children.get(left.pop(), ()) if pid not in found]
        found.update(young)
        left.extend(young)
    return frozenset(found - ended)


def reap() -> dict[int, int]:
    """Wait status of every child that has ended, by pid."""
    found: dict[int, int] = {}
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            found[pid] = status
    return found


def end_all(seconds: float) -> tuple[dict[int, int], frozenset[int]]:
    """Kill everything below this process and reap it. Wait statuses by pid, and who was still there after
    `seconds`: one that the kernel holds in a device's driver cannot be ended by anybody."""
    deadline = time.monotonic() + seconds
    statuses: dict[int, int] = {}
    # Again and again: one that was about to make a child may have made it since the last look.
    while left := below(os.getpid()):
        if time.monotonic() >= deadline:
            break
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
        statuses |= reap()
    return statuses | reap(), left
