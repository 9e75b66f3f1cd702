"""Looks at a Triton of which nothing serves, and asks its warden for another where reviving.py says so."""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fastserve.api.engine import EngineConfig
from fastserve.api.meta import Failure
from fastserve.errors import BackendUnavailable
from fastserve.foreign_json import ForeignReader, Unreadable
from fastserve.router.bookkeeping import rfc3339
from fastserve.router.engine_socket import is_gone, read_report
from fastserve.router.metrics import Metrics
from fastserve.router.pulse import SHORTEST_SECONDS
from fastserve.router.reviving import (
    HELD,
    Look,
    Reason,
    Signs,
    Stall,
    Word,
    mourned,
    must_restart,
    silence_of,
    stall_of,
)
from fastserve.router.serving import OwnReplica
from fastserve.router.triton import TritonControl, TritonInference
from fastserve.router.vigil import LAG_SECONDS, QUIET_SECONDS

TICK_SECONDS = 0.1
"""A dead engine is to be seen before it is unloaded (loading.GONE_SECONDS)."""
ANSWER_SECONDS = 60.0
"""More than the warden's own longest: killing, and the pause before it starts a Triton that was restarted
again and again."""
SENTENCES = {
    Reason.FROZEN: "it answered nothing",
    Reason.STUCK: "its engine answered nothing, and does not let itself be unloaded",
}
_answers = ForeignReader(dict[str, object])
_configs = ForeignReader(EngineConfig)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReviverParts:
    """What a reviver works with. `repository` is Triton's, `warden` the socket of its parent."""

    replica: OwnReplica
    triton: TritonInference
    control: TritonControl
    repository: Path
    warden: Path
    metrics: Metrics


class Reviver:
    """Watches one Triton. `restarts` and `last` are read by the state."""

    def __init__(self, parts: ReviverParts) -> None:
        self._parts = parts
        self._signs = Signs()
        self._dead: frozenset[str] = frozenset()
        self._recovering = False
        self.restarts = 0
        self.last: Failure | None = None

    @property
    def because(self) -> str:
        """Why nothing serves, where that is a restart; empty otherwise."""
        return f"Triton was restarted: {self.last.message}" if self.last and self._recovering else ""

    async def run(self) -> None:
        """Look for ever; where something serves and answers that costs nothing."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            if not self._in_doubt(now) or now - due > LAG_SECONDS:
                self._signs = replace(self._signs, silence=None, stall=None)
                continue
            await self._look()
            reason = must_restart(self._signs, loop.time())
            if reason is not None:
                await self._restart(reason)

    def _in_doubt(self, now: float) -> bool:
        parts = self._parts
        if parts.replica.ready and self._recovering and self._signs.restarted_at is not None:
            self._recovering = False
            self._signs = replace(self._signs, recovery=now - self._signs.restarted_at)
        if parts.replica.closed:
            return False
        return not parts.replica.ready or parts.triton.pulse.silence(now) >= QUIET_SECONDS

    async def _look(self) -> None:
        parts, loop = self._parts, asyncio.get_running_loop()
        began, served, answers = loop.time(), parts.replica.ready, parts.triton.pulse.answers
        try:
            live = await parts.triton.live(SHORTEST_SECONDS)
        except BackendUnavailable:
            # It has ended, and whoever keeps it starts it.
            self._signs = replace(self._signs, silence=None, stall=None)
            return
        look = Look(began, loop.time() - began, live, parts.triton.pulse.answers > answers, served)
        self._signs = replace(self._signs, silence=silence_of(self._signs.silence, look))
        if live:
            self._signs = replace(self._signs, stall=await self._stall())

    async def _stall(self) -> Stall | None:
        """What Triton's models are waiting for, where none of them serves."""
        try:
            index = {} if self._parts.replica.ready else await self._parts.control.index()
        except BackendUnavailable:
            return self._signs.stall
        held = {name: state for name, state in index.items() if state in HELD}
        heard = {name: (state, await self._word_of(name)) for name, state in held.items()}
        words = mourned(heard, self._dead | self._parts.triton.dead)
        self._dead = frozenset(name for name, (_, word) in words.items() if word is Word.DEAD)
        # By the clock after the look: one that took long by itself is no proof of anything.
        return stall_of(self._signs.stall, words, asyncio.get_running_loop().time())

    async def _word_of(self, model: str) -> Word:
        file = self._parts.repository / model / "engine.json"
        try:
            config = _configs.read(await asyncio.to_thread(file.read_bytes))
        except (OSError, Unreadable):
            return Word.NONE
        path = Path(config.socket)
        if await read_report(path) is not None:
            return Word.REPORT
        there = await asyncio.to_thread(path.exists)
        return Word.NOTHING if there and not await is_gone(path) else Word.NOBODY

    async def _restart(self, reason: Reason) -> None:
        now, why = asyncio.get_running_loop().time(), SENTENCES[reason]
        self._signs = Signs(restarted_at=now, recovery=self._signs.recovery)
        log.warning("Triton is restarted", extra={"reason": str(reason), "why": why})
        self._parts.replica.give_up(why)
        try:
            answer = await ask_warden(self._parts.warden, f"{reason}: {why}")
        except (OSError, TimeoutError, ValueError) as error:
            log.error("Triton's warden did not restart it", extra={"reason": str(reason), "why": repr(error)})
            return
        self.restarts += 1
        self._recovering = True
        self.last = Failure(reason=str(reason), message=why, time=rfc3339(datetime.now(UTC)))
        self._parts.metrics.triton_restarts(str(reason)).inc()
        log.info("Triton was restarted", extra={"reason": str(reason), "answer": answer})


async def ask_warden(path: Path, why: str) -> dict[str, object]:
    """Ask for another Triton; what the warden says when it runs. Raises OSError where the warden is not
    there, TimeoutError where it does not answer, and ValueError where it refuses."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            writer.write(f"restart {why}\n".encode())
            line = await reader.readline()
        finally:
            writer.close()
    answer = _answers.read(line)
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer
