"""Every wait says what it waits for, has a deadline, and shows the log that tells why it was in vain."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.failures import ClusterFailed

LINES_SHOWN = 15


@dataclass(frozen=True)
class Wait:
    """`probe` answers "" when what was waited for is so, and else what is missing."""

    what: str
    probe: Callable[[], str]
    seconds: float
    log: Path | None = None
    alive: Callable[[], bool] = lambda: True


def wait(wanted: Wait, pause_seconds: float = 0.25) -> float:
    """Wait until the probe is content; the seconds it took. Silent where it is content at once.

    Raises ClusterFailed at the deadline, or as soon as the process that is waited for has ended.
    """
    began = time.monotonic()
    missing = wanted.probe()
    if missing:
        print(f"waiting for {wanted.what} (at most {wanted.seconds:.0f} s)", flush=True)
    while missing:
        waited = time.monotonic() - began
        if not wanted.alive():
            raise ClusterFailed(f"{wanted.what}: the process ended.{tail(wanted.log)}")
        if waited > wanted.seconds:
            raise ClusterFailed(f"{wanted.what}: not so after {waited:.0f} s: {missing}{tail(wanted.log)}")
        time.sleep(pause_seconds)
        missing = wanted.probe()
    return time.monotonic() - began


def tail(log: Path | None) -> str:
    """The last lines of a log, as text to end an error with."""
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
    return f"\nThe last lines of {log}:\n" + "\n".join(f"  {line[:300]}" for line in lines)
