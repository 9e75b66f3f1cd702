"""Open-loop load from a process of its own: random times (Poisson), whatever becomes of those before.

    python -m chaos.load ADDRESS RATE SEED FILE [LEARNT]     until SIGTERM; then writes what was sent to FILE

Times are of the machine's monotonic clock, which all its processes share. A request's latency counts from
when it was due, so that a generator or a pool that falls behind cannot hide it.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from chaos.model import LABELS, TOLERANCE, version_told
from chaos.records import LEARNT, NO_VERSION, Generated, Sent
from fastserve.errors import BackendError
from fastserve.router.upstream import Upstream

TEXTS = tuple(f"a text about chaos, number {number}" for number in range(32))
"""Few, so that their encodings are remembered."""
SECONDS = 30.0
MOST_BYTES = 300
HOME = Path(__file__).parent.parent


class _Answer(msgspec.Struct):
    scores: dict[str, float]


@dataclass(frozen=True)
class LoadPlan:
    """Whom to ask how often a second, where records lie, and what to expect, by text, of models that do not
    tell their version."""

    address: str
    rate: float
    folder: Path
    learnt: Path | None = None


@dataclass
class Load:
    """The generator while it runs; `made` when it has ended."""

    made: Generated = field(default_factory=lambda: Generated([], 0.0, 0.0))


@contextmanager
def load_on(plan: LoadPlan, name: str) -> Iterator[Load]:
    """Requests from another process for as long as the block runs; their times are drawn by `name`."""
    seed, load = zlib.crc32(name.encode()), Load()
    file = plan.folder / f"sent-{seed}.json"
    command = [sys.executable, "-m", "chaos.load", plan.address, str(plan.rate), str(seed), str(file)]
    command += [str(plan.learnt)] if plan.learnt else []
    child = subprocess.Popen(command, cwd=HOME)
    try:
        time.sleep(2.0)  # until it asks, and a second more
        yield load
    finally:
        child.send_signal(signal.SIGTERM)
        if child.wait(SECONDS + 10.0):
            raise SystemExit("the load generator failed")
    made = msgspec.json.decode(file.read_bytes(), type=Generated)
    load.made = Generated(sorted(made.sent, key=lambda one: one.due), made.cpu_seconds, made.late)


class Caller:
    """Asks, and keeps what came of it. `learnt` are first scores by text, one of each version."""

    def __init__(self, address: str, learnt: Mapping[str, Sequence[float]]) -> None:
        self._client, self._learnt = Upstream(address), learnt
        self._bodies = {text: json.dumps({"text": text}).encode() for text in TEXTS}
        self.sent: list[Sent] = []

    async def ask(self, text: str, due: float) -> None:
        began = time.monotonic()
        try:
            reply = await self._client.post("/v1/predict", b"", self._bodies[text], SECONDS)
            status = reply.status
            version = self._version(reply.body, text) if status == 200 else NO_VERSION
            why = "" if version != NO_VERSION else reply.body[:MOST_BYTES].decode("latin-1")
        except BackendError as error:
            status, version, why = 0, NO_VERSION, str(error)
        self.sent.append(Sent(due, began, time.monotonic(), status, version, why))

    def _version(self, body: bytes, text: str) -> int:
        try:
            left = msgspec.json.decode(body, type=_Answer).scores[LABELS[0]]
        except (msgspec.DecodeError, KeyError):
            return NO_VERSION
        for number, score in enumerate(self._learnt.get(text, ())):
            if abs(left - score) < TOLERANCE:
                return LEARNT + number
        told = version_told(left, text)
        return NO_VERSION if told is None else told


async def generate(caller: Caller, rate: float, seed: int) -> Generated:
    """Ask until SIGTERM, then wait for the answers."""
    dice, ending = np.random.default_rng(seed), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    due, late, number = time.monotonic(), 0.0, 0
    async with asyncio.TaskGroup() as group:
        while not ending.is_set():
            due += dice.exponential(1.0 / rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late = max(late, time.monotonic() - due)
            group.create_task(caller.ask(TEXTS[number % len(TEXTS)], due))
            number += 1
    return Generated(caller.sent, time.process_time(), late)


def main() -> None:
    address, rate, seed, file, *learnt = sys.argv[1:]
    caller = Caller(address, json.loads(Path(learnt[0]).read_text()) if learnt else {})
    made = uvloop.run(generate(caller, float(rate), int(seed)))
    Path(file).write_bytes(msgspec.json.encode(made))


if __name__ == "__main__":
    main()
