"""One generation of rank processes, from birth to death. Standard library and numpy only: it runs in
Triton's Python stub.

Each rank is joined to this process by a socket pair, which carries `messages` and whose end tells that the
rank is gone, and all of them by a lifeline, a pipe that nobody writes to: its end tells them that this
process is gone. A generation is used once; after a death the supervisor makes a new one.
"""

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastserve.api.engine import EngineConfig
from fastserve.engine.devices import Placement, RankDevice
from fastserve.engine.messages import Message, receive, send
from fastserve.engine.orders import RankOrder, rank_environment
from fastserve.errors import EngineError, FastServeError, RankDied

BOOT = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("fastserve.engine.rank", run_name="__main__", alter_sys=True)
"""
"""Runs the rank from the folder that this package lies in. That folder comes last, so that the engine's
own packages win where it is a site-packages of another environment."""
PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
GRACE_SECONDS = 0.5
"""How long the other ranks may take to fail too, once one of them said that it failed."""
STOP_SECONDS = 3.0
Progress = Callable[[int, int, int], None]
"""Called with a rank's number, its bytes read and its bytes to read."""


@dataclass(frozen=True)
class Rank:
    number: int
    device: RankDevice
    process: subprocess.Popen[bytes]
    channel: Connection


class RankProcesses:
    """The ranks of one generation; made by `spawn`, then `load`, then any number of `ask`."""

    def __init__(self, ranks: tuple[Rank, ...], lifeline: int, folder: str) -> None:
        self.ranks = ranks
        self._lifeline = lifeline
        self._folder = folder
        self._channels = {rank.channel: rank for rank in ranks}
        self._verdict: FastServeError | None = None

    def load(self, timeout: float, progress: Progress) -> list[Message]:
        """Wait until every rank holds its part; their ``loaded`` messages, by rank.

        Raises what a rank raised, RankDied where one ended, EngineError after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        pending = dict(self._channels)
        loaded: dict[int, Message] = {}
        while pending:
            for rank, message in self._receive(pending, deadline, f"not loaded within {timeout:g} s"):
                if message.kind == "progress":
                    progress(rank.number, message.header["done"], message.header["total"])
                elif message.kind == "failed":
                    raise self._first_cause(message.error())
                else:
                    loaded[rank.number] = message
                    del pending[rank.channel]
        return [loaded[rank.number] for rank in self.ranks]

    def ask(self, texts: Sequence[str], timeout: float) -> NDArray[np.float32]:
        """Scores [n, width] of `texts` by all ranks together.

        Raises RankDied where one ended, EngineError where it failed or did not answer within `timeout`
        seconds. Ranks that are out of step then are killed: a later answer would be that of another call.
        """
        try:
            self._tell(texts, timeout)
            answers = self._answers(timeout)
        except RankDied:
            raise
        except EngineError as error:
            self._verdict = error
            self.kill()
            raise
        failures = [answer.error() for answer in answers if answer.kind == "failed"]
        if failures:
            raise failures[0]
        scores = next(answer for answer in answers if answer.kind == "scores")
        flat = np.frombuffer(scores.payload, dtype="<f4")
        return flat.reshape(scores.header["rows"], scores.header["width"])

    def wait_for_end(self, wake: int) -> FastServeError | None:
        """Block until a rank ends, and say why; None where `wake` becomes readable instead."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        for channel in self._channels:
            # No POLLIN: an answer must wake the thread that asked, not this one.
            poll.register(channel.fileno(), select.POLLHUP)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wake in ready:
            return None
        ended = next(rank for rank in self.ranks if rank.channel.fileno() in ready)
        self._verdict = self._end_of(ended)
        return self._verdict

    def kill(self) -> None:
        """End the processes at once. The channels stay open, so that a thread that reads them sees it."""
        for rank in self.ranks:
            with suppress(ProcessLookupError):
                rank.process.kill()

    def close(self) -> None:
        """Let the ranks go, kill those that do not, and give everything back. No thread may be asking."""
        for rank in self.ranks:
            rank.channel.close()
        deadline = time.monotonic() + STOP_SECONDS
        for rank in self.ranks:
            with suppress(subprocess.TimeoutExpired):
                rank.process.wait(max(0.0, deadline - time.monotonic()))
        os.close(self._lifeline)
        self.kill()
        for rank in self.ranks:
            rank.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self, timeout: float) -> list[Message]:
        deadline = time.monotonic() + timeout
        late = f"no answer within {timeout:g} s"
        pending = dict(self._channels)
        answers: list[Message] = []
        while pending:
            for rank, message in self._receive(pending, deadline, late):
                del pending[rank.channel]
                answers.append(message)
                if message.kind == "failed":
                    late = f"rank {rank.number} failed: {message.header['message']}"
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        return answers

    def _tell(self, texts: Sequence[str], timeout: float) -> None:
        for rank in self.ranks:
            try:
                send(rank.channel, {"kind": "predict", "texts": texts})
            except BlockingIOError:
                raise EngineError(f"rank {rank.number} took no request within {timeout:g} s") from None
            except OSError:
                raise self._end_of(rank) from None

    def _receive(
        self, pending: Mapping[Connection, Rank], deadline: float, late: str
    ) -> list[tuple[Rank, Message]]:
        ready = wait(list(pending), max(0.0, deadline - time.monotonic()))
        if not ready:
            silent = ", ".join(str(rank.number) for rank in pending.values())
            raise EngineError(f"{late}; silent ranks: {silent}")
        received = []
        for channel in ready:
            rank = pending[channel]  # type: ignore[index]  # wait() returns what it was given
            try:
                received.append((rank, receive(rank.channel)))
            except (EOFError, OSError):
                raise self._end_of(rank) from None
        return received

    def _end_of(self, rank: Rank) -> FastServeError:
        """Why a rank is gone: after the first end the others are killed, and theirs are not the cause."""
        return self._verdict or _death_of(rank)

    def _first_cause(self, error: FastServeError) -> FastServeError:
        """A rank that lost its peer fails too, and its word may come first: prefer the death."""
        if error.reason != EngineError.reason:
            return error
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            for rank in self.ranks:
                if (rank.process.poll() or 0) < 0:
                    return _death_of(rank)
            time.sleep(0.02)
        return error


def spawn(config: EngineConfig, placement: Placement, environ: Mapping[str, str]) -> RankProcesses:
    """Start one process for each device. Raises EngineError where the interpreter cannot be started."""
    folder = tempfile.mkdtemp(prefix="fastserve-ranks-")
    reading, lifeline = os.pipe()
    ranks: list[Rank] = []
    try:
        for number in range(len(placement.devices)):
            rank_config = _Birth(config, placement, environ, f"{folder}/rendezvous", reading)
            ranks.append(_start(rank_config, number))
    except OSError as error:
        RankProcesses(tuple(ranks), lifeline, folder).close()
        raise EngineError(f"{config.python} cannot be started: {error.strerror}") from error
    finally:
        os.close(reading)
    return RankProcesses(tuple(ranks), lifeline, folder)


@dataclass(frozen=True)
class _Birth:
    config: EngineConfig
    placement: Placement
    environ: Mapping[str, str]
    rendezvous: str
    lifeline: int


def _start(birth: _Birth, number: int) -> Rank:
    config, device = birth.config, birth.placement.devices[number]
    ours, theirs = socket.socketpair()
    order = RankOrder(
        number=number,
        size=len(birth.placement.devices),
        task=config.task,
        checkpoint=config.checkpoint,
        device=device.torch_name,
        backend=birth.placement.backend,
        max_tokens=config.max_tokens,
        threads=config.threads_per_rank,
        timeout_seconds=config.load_timeout_seconds,
        rendezvous=birth.rendezvous,
        channel=theirs.fileno(),
        lifeline=birth.lifeline,
    )
    # Bounds a write to a rank that does not read: a text may be larger than the socket's buffer.
    patience = struct.pack("ll", config.execute_timeout_seconds, 0)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
    try:
        process = subprocess.Popen(
            [config.python, "-P", "-c", BOOT, PACKAGE_ROOT, order.to_json()],
            env=rank_environment(birth.environ, device, config.threads_per_rank),
            pass_fds=(theirs.fileno(), birth.lifeline),
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Rank(number, device, process, Connection(ours.detach()))


def _death_of(rank: Rank) -> RankDied:
    name = f"rank {rank.number} (pid {rank.process.pid})"
    try:
        status = rank.process.wait(1.0)
    except subprocess.TimeoutExpired:
        return RankDied(f"{name} closed its channel")
    if status < 0:
        return RankDied(f"{name} was killed by {signal.Signals(-status).name}")
    return RankDied(f"{name} ended with status {status}")
