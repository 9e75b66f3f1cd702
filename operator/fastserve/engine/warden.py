"""``python -m fastserve.engine.warden --socket PATH --regions PREFIX -- tritonserver …``: Triton's parent.

A Triton that is frozen, or that waits for ever for a stub which is, does not end by itself, and the router
beside it sees no processes. So the router asks here: ``restart WHY`` and a newline on the socket, answered by
one line of JSON when the new Triton runs. Otherwise nobody is to notice that this process is there: signals
go on to Triton, and it ends as Triton ends. Standard library only, since it runs in Triton's image.
"""

import argparse
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastserve.engine.descendants import adopt_orphans, below, die_with, end_all, reap
from fastserve.engine.restart_door import RestartDoor

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps it
END_SECONDS = 20.0
"""From asking Triton to end to killing it: its own exit timeout (10 s) and a reserve. Whoever asks us waits
for longer than that."""
KILL_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""A Triton that ran for so long was a good one: what was before is forgotten."""
UNPAUSED_SECONDS = 15.0
"""One that ran for so long is restarted at once: the next one lives long enough to cost no more than that. An
engine that freezes in each load is given up sooner than this."""
FIRST_DELAY, LAST_DELAY = 1.0, 30.0
CANNOT_EXECUTE = 127


@dataclass(frozen=True)
class Order:
    """What to run. `regions` is what the names of Triton's shared-memory regions begin with."""

    socket: Path
    regions: str
    command: tuple[str, ...]


def restart_delay(quick: int) -> float:
    """Seconds before Triton is started again, after so many restarts in a row that came soon after a start:
    the first one costs nobody a pause."""
    return 0.0 if quick < 2 else min(LAST_DELAY, FIRST_DELAY * 2.0 ** (quick - 2))


@dataclass
class _Restart:
    """One that is under way; times are those of the monotonic clock."""

    why: str
    ended: int
    began: float
    start_at: float


class Warden:
    """Runs one Triton at a time."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._selector = selectors.DefaultSelector()
        self._door = RestartDoor(order.socket, self._selector, self._asked)
        self._restart: _Restart | None = None
        self._child: int | None = None
        self._status: int | None = None
        self._started = 0.0
        self._restarts = self._quick = 0
        self._end_by: float | None = None

    def run(self) -> int:
        """Start Triton, serve until it ended, leave nothing behind. Its exit code; minus the signal's number
        where that ended it. Raises OSError where the socket cannot be had."""
        adopt_orphans()
        self._listen_to_signals()
        self._door.open()
        try:
            self._start()
            while (code := self._step()) is None:
                for key, _ in self._selector.select(self._rest()):
                    key.data()
        finally:
            self._door.close()
        return code

    def _step(self) -> int | None:
        """What is due now; the code to end with where all is over."""
        now = time.monotonic()
        if self._status is not None:
            self._clean()
            return os.waitstatus_to_exitcode(self._status)
        if self._end_by is not None and (self._child is None or now >= self._end_by):
            self._clean()
            return -signal.SIGKILL if self._child is not None else 0
        if self._restart is not None and now >= self._restart.start_at:
            return self._start_again(self._restart)
        return None

    def _rest(self) -> float | None:
        """Seconds until something is due by itself."""
        due = self._end_by or (self._restart.start_at if self._restart else None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _start(self) -> None:
        self._started, own = time.monotonic(), os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(self._order.command, own)
        self._child = pid

    def _start_again(self, restart: _Restart) -> int | None:
        left = below(os.getpid())
        if left:
            # Its ports and its GPU's memory are still taken; whoever started us may know another way.
            _say("error", "what cannot be killed is in the way", pids=sorted(left))
            return 1
        self._start()
        self._restart, self._restarts = None, self._restarts + 1
        seconds = round(time.monotonic() - restart.began, 3)
        told = {"why": restart.why, "ended": restart.ended, "seconds": seconds, "pid": self._child}
        _say("warning", "Triton was started again", **told, restarts=self._restarts)
        self._door.answer({"pid": self._child, "restarts": self._restarts, "seconds": seconds})
        return None

    def _clean(self) -> None:
        """Triton's stubs and ranks may be frozen, and its regions stay when it is killed."""
        statuses, _ = end_all(KILL_SECONDS)
        if self._child in statuses:
            self._status = statuses[self._child]
        for region in SHARED_MEMORY.glob(f"{self._order.regions}*"):
            with suppress(OSError):
                region.unlink()

    def _listen_to_signals(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, _only_wake)

        def take() -> None:
            _ = theirs  # it lives as long as the selector does
            numbers = ours.recv(4096)
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                self._end()
            self._look_for_end()

        self._selector.register(ours, selectors.EVENT_READ, take)

    def _end(self) -> None:
        if self._end_by is not None:
            return
        self._end_by = time.monotonic() + END_SECONDS
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGTERM)
                # One that somebody stopped could not end in good order.
                os.kill(self._child, signal.SIGCONT)

    def _look_for_end(self) -> None:
        status = reap().get(self._child or 0)
        if status is not None:
            self._status = status

    def _asked(self, why: str) -> bool:
        """Somebody wants another Triton; False where it is too late for that."""
        if self._end_by is not None or self._status is not None:
            return False
        if self._restart is None:
            self._kill(why)
        return True

    def _kill(self, why: str) -> None:
        began = time.monotonic()
        self._quick = self._quick + 1 if began - self._started < STEADY_SECONDS else 0
        family = len(below(os.getpid()))
        self._child = None
        self._clean()
        pause = restart_delay(self._quick) if began - self._started < UNPAUSED_SECONDS else 0.0
        self._restart = _Restart(why, family, began, time.monotonic() + pause)


def _become(command: tuple[str, ...], parent: int) -> None:
    """The child's own part: it never comes back."""
    try:
        die_with(parent)
        # What Python set for itself would be passed on.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 - that is what it is for
    except OSError as error:
        _say("error", f"{command[0]} cannot be started: {error.strerror}")
    finally:
        os._exit(CANNOT_EXECUTE)


def _only_wake(number: int, _frame: object) -> None:
    """Its number goes to the wake-up descriptor, which the loop reads."""


def _say(level: str, message: str, **more: object) -> None:
    time_now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(
        json.dumps({"time": time_now, "level": level, "message": message, **more}),
        file=sys.stderr,
        flush=True,
    )


def end_as(code: int) -> int:
    """The exit code for whoever started us. Where a signal ended Triton, that signal ends this process, so
    that it is told as before; the first process of a container can only say it by number."""
    if code >= 0:
        return code
    if os.getpid() != 1:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError, ValueError):  # SIGKILL has no handler to be set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return 128 - code


def order_of(arguments: list[str]) -> Order:
    """What the command line asks for. Ends the process where it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m fastserve.engine.warden")
    parser.add_argument("--socket", required=True, type=Path, help="where restarts can be asked for")
    parser.add_argument("--regions", required=True, help="how Triton's shared-memory regions begin")
    parser.add_argument("command", nargs="+", help="Triton and its arguments, after --")
    given = parser.parse_args(arguments)
    return Order(given.socket, given.regions, tuple(given.command))


def main(arguments: list[str]) -> int:
    return end_as(Warden(order_of(arguments)).run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
