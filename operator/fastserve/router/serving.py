"""Inference in this router's own Triton: the bounded queue, the version that serves, and its health."""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fastserve.errors import (
    BackendAway,
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
)
from fastserve.router.admission.gate import End, Gate, Shed
from fastserve.router.admission.pace import Pace
from fastserve.router.caller import Priority
from fastserve.router.health import OWN_PACE, Event, HealthState, spread, step
from fastserve.router.metrics import Metrics
from fastserve.router.oip import Scores
from fastserve.router.outliers import Conduct
from fastserve.router.replicas import MemberCall, MemberOutput
from fastserve.router.scaling.meter import GateLoad
from fastserve.router.scaling.triton_queue import TritonQueue
from fastserve.router.tracing import current
from fastserve.router.triton import Question, TritonInference
from fastserve.router.versions.tallying import VersionTallies
from fastserve.router.versions.trial import Serving, Trial

PROBE_TEXT = b"ready?"
_draw = np.random.default_rng()
log = logging.getLogger(__name__)
PROVE_SECONDS = 30.0
"""The first inference after a load may be slow: memory is touched and kernels are chosen then."""


class _FailedOnTrial(Exception):
    """A version on trial was asked, and failed by itself."""

    def __init__(self, error: BackendError) -> None:
        super().__init__(str(error))
        self.error = error


class OwnReplica:
    """This router's own Triton as a replica of its sub-model.

    `current` has one writer, the sidecar; whoever holds a place at the gate takes it once.
    """

    def __init__(self, member: str, triton: TritonInference, metrics: Metrics, instance: str = "") -> None:
        self.member = member
        self.instance = instance
        self.gate = Gate(64, 256, self._count_shed)
        metrics.count_limit(member, lambda: float(self.gate.limit))
        self.current: Serving | None = None
        self.trial: Trial | None = None
        """A version that gets a part of the requests."""
        self.away = ""
        """Why no new requests are to come although something serves."""
        self.tallies = VersionTallies()
        self.triton_queue = TritonQueue()
        self._busy_seconds = 0.0
        self.first_served = 0.0
        """When a version first served, in the loop's time; 0 before."""
        self.closed = False
        """Drained: its Triton is about to end."""
        self.health = HealthState()
        self.pace = OWN_PACE
        """How often it is probed; the watch says that."""
        self.conduct = Conduct()
        self.vouched_until = 0.0
        """Until when the engine's last word, that it is well, counts."""
        self._doubt = asyncio.Event()
        self.by_version: Counter[str] = Counter()
        self.requests = 0
        self.failures = 0
        self._paced = ""
        """Digest of the version that the gate's pace was learnt with."""
        self._triton = triton
        self._metrics = metrics
        self._inference = metrics.inference(member)

    @property
    def ready(self) -> bool:
        return self.current is not None and self.health.ready and not self.closed and not self.away

    @property
    def in_flight(self) -> int:
        return self.gate.in_flight + self.gate.waiting

    @property
    def labels(self) -> tuple[str, ...]:
        return self.current.labels if self.current else ()

    @property
    def version(self) -> str:
        return self.current.version if self.current else ""

    def switch(self, serving: Serving | None) -> None:
        """Exchange the version; requests that hold the old one finish there, and what they tell is its."""
        self.current, self.trial, self.away = serving, None, ""
        if serving is not None:
            self.conduct = Conduct()
            self.tallies.serves(serving.name)
            self.first_served = self.first_served or asyncio.get_running_loop().time()
            if serving.digest != self._paced:
                self._paced, self.gate.pace = serving.digest, Pace()
                self.triton_queue.forget()
            self.note(Event.ANSWERED)

    def note(self, event: Event) -> None:
        """Something happened that tells whether it answers."""
        before, now = self.health, asyncio.get_running_loop().time()
        self.health = spread(step(before, event, now, self.pace), now, _draw.random())
        if before.ready and not self.health.ready:
            self._metrics.ejections(self.member, str(event)).inc()
            self.doubt()

    @property
    def serving(self) -> str:
        """The model in Triton that answers; empty where none does."""
        return self.current.name if self.current is not None else ""

    def load(self) -> GateLoad:
        """What its gate counted, and Triton behind it. What waits there is told when it is answered, so that
        what runs would seem to become less now and then."""
        gate, now = self.gate, asyncio.get_running_loop().time()
        self._busy_seconds = max(self._busy_seconds, gate.busy_seconds(now) - self.triton_queue.seconds)
        return GateLoad(
            arrivals=gate.arrivals,
            answered=gate.answered,
            busy_seconds=self._busy_seconds,
            waits=tuple(self._metrics.queue.counts),
            waiting=gate.waiting + round(self.triton_queue.waiting),
            limit=gate.limit,
            pace=self.triton_queue.pace or gate.learn_pace(),
        )

    def silence(self, now: float) -> float:
        """Seconds since Triton's last sign of life while requests or a probe wait; 0 where none does."""
        return self._triton.pulse.silence(now)

    @property
    def dead(self) -> set[str]:
        """Models in Triton that are dead by its own word."""
        return self._triton.dead

    def give_up(self, why: str) -> None:
        """Triton or its engine is dead or frozen: who waits for it is sent elsewhere at once."""
        log.warning("Triton is given up", extra={"member": self.member, "why": why})
        if self.ready:
            self.note(Event.SILENT)
        self._triton.break_off(f"{self.member} is given up: {why}")

    def doubt(self) -> None:
        """Requests wait unusually long: whoever looks after the engine is to look now."""
        self._doubt.set()

    async def doubted(self, seconds: float) -> None:
        """Wait so long, or until there is reason to doubt, or the health changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._doubt.wait()
        self._doubt.clear()

    async def infer(self, call: MemberCall) -> MemberOutput:
        """Raises BackendAway where nothing serves, and what Triton's answer means."""
        if not self.ready:
            raise BackendAway(f"{self.member} is not ready at this router")
        self.requests += 1
        trial = self._drawn()
        try:
            if trial is not None:
                return await self._tried(trial, call)
            return await self._whole(call)
        except BackendAway:
            raise
        except BackendError:
            self.failures += 1
            raise

    async def prove(self, serving: Serving, texts: Sequence[bytes] = (PROBE_TEXT,)) -> Scores:
        """One real inference of a version that does not serve yet. Raises BackendError."""
        return await self._triton.aside(Question(serving.name, texts, serving.output), PROVE_SECONDS)

    def _usable(self, trial: Trial | None = None) -> Serving:
        """The version for a request that was let in. One that was let in before this router left the pool
        is answered still."""
        if trial is not None and self.trial is trial and not trial.lost:
            return trial.serving
        if self.current is None or self.closed or not self.health.ready:
            raise BackendAway(f"{self.member} is not ready at this router")
        return self.current

    def _drawn(self) -> Trial | None:
        """The version on trial, where the next request is its."""
        trial = self.trial
        return trial if trial is not None and not trial.lost and trial.takes() else None

    async def _tried(self, trial: Trial, call: MemberCall) -> MemberOutput:
        """What the version on trial fails is answered by the stable one, and counts against the trial."""
        try:
            return await self._whole(call, trial)
        except _FailedOnTrial as failed:
            error = failed.error
            if self.current is trial.serving:
                raise error from failed
            trial.failed(gone=isinstance(error, BackendUnavailable))
            if trial.lost:
                self.doubt()
            return await self._after_trial(call, error)

    async def _after_trial(self, call: MemberCall, error: BackendError) -> MemberOutput:
        """By the stable version; what was the end of both is not asked anywhere else."""
        now = asyncio.get_running_loop().time()
        if isinstance(error, BackendTimeout) and not self.gate.has_time(now, call.deadline):
            raise error
        if not isinstance(error, BackendLost):
            return await self._whole(call)
        call.fate.lost(again=False)
        if not call.fate.may_be_asked():
            raise BackendLost(str(error), again=True) from error
        try:
            return await self._whole(call)
        except BackendLost as second:
            raise BackendLost(str(second), again=True) from error

    async def _whole(self, call: MemberCall, trial: Trial | None = None) -> MemberOutput:
        size = self._usable(trial).max_batch
        if len(call.texts) <= size:
            return await self._one(call.texts, call, trial)
        return await self._many(call, size, trial)

    async def _many(self, call: MemberCall, size: int, trial: Trial | None) -> MemberOutput:
        chunks = [call.texts[i : i + size] for i in range(0, len(call.texts), size)]
        parts = await self._in_turn([self._one(chunk, call, trial) for chunk in chunks])
        if any(part.labels != parts[0].labels for part in parts):
            raise BackendUnavailable(f"{self.member} changed its version while it answered")
        scores = np.concatenate([part.scores for part in parts])
        return MemberOutput(parts[0].labels, scores, parts[0].version, max(part.waited for part in parts))

    async def _in_turn(self, calls: Sequence[Coroutine[Any, Any, MemberOutput]]) -> list[MemberOutput]:
        """The answers of all, in their order, or the first error. Begun are as many at once as find a place,
        and one where there is none: of one request at most one waits at the gate, so that it cannot fill the
        queue that it waits in."""
        tasks: list[asyncio.Task[MemberOutput]] = []
        running: set[asyncio.Task[MemberOutput]] = set()
        try:
            while running or len(tasks) < len(calls):
                while len(tasks) < len(calls) and (self.gate.free or not running):
                    tasks.append(asyncio.create_task(calls[len(tasks)]))
                    running.add(tasks[-1])
                    await asyncio.sleep(0)  # it takes its place before the next one is thought of
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if errors := [error for one in done if (error := one.exception())]:
                    raise errors[0]
            return [task.result() for task in tasks]
        finally:
            for coroutine in calls[len(tasks) :]:
                coroutine.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, texts: tuple[bytes, ...], call: MemberCall, trial: Trial | None) -> MemberOutput:
        loop, gate, waited = asyncio.get_running_loop(), self.gate, 0.0
        start = loop.time()
        if not gate.take(start, call.deadline):
            with current().part("queue"):
                waited = await gate.wait(call.caller, call.deadline)
            start = loop.time()
        self._metrics.queue.observe(waited + self.triton_queue.wait)
        gate.sample(start, waited)
        inside = gate.in_flight - 1
        try:
            serving = self._usable(trial)
        except BackendAway:
            # Nothing was asked, so that nothing is told: neither of Triton nor of how long it takes.
            gate.leave(start, start, inside, End.ABANDONED)
            raise
        tried = trial if trial is not None and serving is trial.serving else None
        name, end = serving.name, End.ABANDONED
        self.by_version[name] += 1
        try:
            question = Question(name, texts, serving.output, call.request_id)
            scores = await self._triton.infer(question, call.deadline - start)
            end = End.ANSWERED
        except BackendError as error:
            event = _event_of(error)
            end = End.LATE if event is Event.LATE else End.FAILED
            failed = self._failed(name, error, loop.time() - start, inside)
            if tried is None or end is End.LATE:
                self.note(event)
            if tried is not None and failed:
                raise _FailedOnTrial(error) from error
            raise
        finally:
            now = loop.time()
            gate.leave(start, now, inside, end)
            self.by_version[name] -= 1
        self._inference.observe(now - start)
        self.tallies.of(name).answer(now, now - start)
        if tried is None:
            self._answered(now)
        else:
            tried.failures = 0
        return MemberOutput(serving.labels, scores, serving.version, waited)

    def _failed(self, name: str, error: BackendError, seconds: float, inside: int) -> bool:
        """Whether the version is to blame, after `seconds` with so many others `inside`; counts it if so. A
        deadline that an inference needs says something of it, a shorter one is the caller's own doing."""
        tally = self.tallies.of(name)
        if _event_of(error) is not Event.LATE:
            tally.fail()
            return True
        if not isinstance(error, BackendTimeout) or not self.gate.tells(seconds, inside):
            return False
        failed = self.tallies.enough(name, seconds)
        tally.late(asyncio.get_running_loop().time(), seconds, failed=failed)
        return failed

    def _count_shed(self, why: Shed, priority: Priority) -> None:
        self._metrics.sheds(self.member, why, priority.name.lower()).inc()

    def _answered(self, now: float) -> None:
        """One that was ejected meanwhile comes back by a probe only; one that is healthy is noted as such
        often enough to need no probe."""
        health = self.health
        if health.ready and (health.failures or health.probe_at - now < self.pace.idle / 2):
            self.health = step(health, Event.ANSWERED, now, self.pace)


def _event_of(error: BackendError) -> Event:
    if isinstance(error, BackendUnavailable):
        return Event.UNREACHABLE
    if isinstance(error, (BackendTimeout, BackendOverloaded)):
        return Event.LATE
    return Event.FAILED
