"""The way of one call to a sub-model: pick a replica, ask it, note how it answered, ask another one where
that may help."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import msgspec
import numpy as np

from fastserve.errors import (
    BackendAway,
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
)
from fastserve.router.hedging import hedge_after
from fastserve.router.latency import Latencies
from fastserve.router.metrics import Metrics
from fastserve.router.outliers import Conduct, judge
from fastserve.router.pool import Pool
from fastserve.router.replicas import MemberCall, MemberOutput, Replica
from fastserve.router.retrying import Budget, worth_elsewhere
from fastserve.router.table import Shares
from fastserve.router.tracing import current

JUDGE_SECONDS = 0.5
"""How often latencies are compared; failures are judged at once."""
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.02, 0.5
"""Before one that was woken is asked again where it had no room; at random up to twice as long each time."""
_draw = np.random.default_rng()
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Missed:
    """A call without an answer. `replica` is who was asked last; `again` whether it was a second one."""

    error: BackendError
    replica: Replica | None
    again: bool = False


class FirstAnswer:
    """Takes the time of the first answer to a fan-out."""

    __slots__ = ("_metrics", "_start")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics: Metrics | None = metrics
        self._start = perf_counter()

    def heard(self, said: MemberOutput | Missed) -> MemberOutput | Missed:
        if self._metrics is not None and isinstance(said, MemberOutput):
            self._metrics.first_answer.observe(perf_counter() - self._start)
            self._metrics = None
        return said


@dataclass(slots=True)
class _Memory:
    """What is remembered of one sub-model's calls."""

    retries: Budget = field(default_factory=Budget)
    hedges: Budget = field(default_factory=lambda: Budget(at_least=1))
    latencies: Latencies = field(default_factory=Latencies)
    judge_at: float = 0.0


class Calling:
    """Makes calls to the sub-models of a pool."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._memories: dict[str, _Memory] = {}

    async def call(self, call: MemberCall) -> MemberOutput | Missed:
        """Ask one replica; where it is gone or full, one other, as far as the budget goes."""
        now = asyncio.get_running_loop().time()
        memory = self._memory(call.member)
        memory.retries.called(now)
        self._pool.meter.door(call.member).arrivals += self._pool.places(call.member, len(call.texts))
        replica = self._pool.replica(call.member, now)
        if replica is None and self._pool.sleeps(call.member):
            return await self._woken(call)
        if replica is None:
            return Missed(BackendUnavailable(f"{call.member} is not ready"), None)
        trial = replica.conduct.trial_due(now)
        try:
            if self._shares.hedged and not trial:
                return await self._hedged(replica, call, memory)
            return await self._ask(replica, call)
        except BackendError as error:
            missed = Missed(error, replica)
            return await self._elsewhere(missed, call, trial=trial)

    async def _woken(self, call: MemberCall) -> MemberOutput | Missed:
        """Ask one that sleeps, when it is awake. That it is not yet is nobody's fault."""
        try:
            async with self._pool.waking.turn(call.member, call.deadline):
                said = await self._ask_awake(call)
        except BackendError as error:
            return Missed(error, None)
        return said if isinstance(said, Missed) else msgspec.structs.replace(said, woken=True)

    async def _ask_awake(self, call: MemberCall) -> MemberOutput | Missed:
        """More may have been held, here and elsewhere, than there is room for at once: come again until the
        deadline."""
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while True:
            replica = self._pool.replica(call.member, loop.time())
            try:
                if replica is not None:
                    return await self._ask(replica, call)
            except (BackendOverloaded, BackendAway):
                pass
            except BackendError as error:
                return await self._elsewhere(Missed(error, replica), call, trial=False)
            pause = min(MOST_PAUSE_SECONDS, pause * (1.0 + _draw.random()))
            if loop.time() + pause >= call.deadline:
                await asyncio.sleep(max(0.0, call.deadline - loop.time()))
                raise BackendTimeout(f"{call.member} was woken, and had no room by the deadline")
            await asyncio.sleep(pause)

    async def once_more(self, missed: Missed, call: MemberCall) -> MemberOutput | Missed:
        """Ask again for what an answer hangs on: another replica, or the same where there is no other."""
        now = asyncio.get_running_loop().time()
        if missed.again or isinstance(missed.error, (BackendTimeout, BackendOverloaded)):
            return missed
        replica = self._pool.replica(call.member, now, other_than=missed.replica)
        lost = isinstance(missed.error, BackendLost)
        if replica is None and not lost and missed.replica is not None and missed.replica.ready:
            replica = missed.replica
        return await self._again(missed, call, replica)

    def may_choose_again(self, calls: Sequence[MemberCall]) -> bool:
        """Whether budgets and fate allow a whole second round after nobody of these could be reached."""
        now = asyncio.get_running_loop().time()
        return all(self._take(call, now, free=not call.fate.begun) for call in calls)

    @property
    def _shares(self) -> Shares:
        snapshot = self._pool.snapshot
        return snapshot.shares if snapshot is not None else _NO_TABLE

    def _memory(self, member: str) -> _Memory:
        memory = self._memories.get(member)
        if memory is None:
            known = self._pool.snapshot.members if self._pool.snapshot else {}
            self._memories = {name: one for name, one in self._memories.items() if name in known}
            memory = self._memories[member] = _Memory()
        return memory

    async def _elsewhere(self, missed: Missed, call: MemberCall, *, trial: bool) -> MemberOutput | Missed:
        if not worth_elsewhere(missed.error, trial=trial):
            return missed
        now = asyncio.get_running_loop().time()
        other = self._pool.replica(call.member, now, other_than=missed.replica)
        full = isinstance(missed.error, BackendOverloaded) and not trial
        if full and other is not None and self._busier(other, missed.replica):
            return missed
        return await self._again(missed, call, other)

    def _busier(self, other: Replica, full: Replica | None) -> bool:
        """Whether one is likely to be full as well. As busy as the full one is not: other routers may have
        filled that. Nor is the own one, which counts all routers' calls and refuses at no cost."""
        return full is not None and other is not self._pool.own and other.in_flight > full.in_flight

    async def _again(
        self, missed: Missed, call: MemberCall, replica: Replica | None
    ) -> MemberOutput | Missed:
        now = asyncio.get_running_loop().time()
        if replica is None or now >= call.deadline:
            return missed
        free = isinstance(missed.error, BackendAway)
        if not self._take(call, now, free=free):
            return missed
        try:
            with current().part("retry") as step:
                step.note("fastserve.retry.because", missed.error.reason)
                output = await self._ask(replica, call)
        except BackendError as error:
            self._metrics.retries(call.member, "failed").inc()
            if _refuses(error):
                _compare(missed, replica, others_answer=False)
            return Missed(error, replica, again=True)
        self._metrics.retries(call.member, "answered").inc()
        _compare(missed, replica, others_answer=True)
        return output

    def _take(self, call: MemberCall, now: float, *, free: bool) -> bool:
        """Whether a call may be made once more; `free` where nothing of it was begun, which adds no work."""
        share, budget = self._shares.retried, self._memory(call.member).retries
        if call.fate.may_be_asked() and ((free and share > 0.0) or budget.take(now, share)):
            return True
        self._metrics.retries(call.member, "denied").inc()
        return False

    async def _ask(self, replica: Replica, call: MemberCall) -> MemberOutput:
        """Ask one replica, and note how it answered."""
        clock, conduct = asyncio.get_running_loop().time, replica.conduct
        start = clock()
        conduct.on_trial = conduct.on_trial or conduct.trial_due(start)
        places = self._pool.places(call.member, len(call.texts))
        self._pool.meter.door(call.member).send(replica.instance, places)
        try:
            output = await replica.infer(call)
        except BaseException as error:
            self._note(error, conduct, call, start)
            raise
        now, call.fate.begun = clock(), True
        conduct.answered(now, max(0.0, now - start - output.waited), output.waited)
        memory = self._memory(call.member)
        memory.latencies.add(now - start)
        if now >= memory.judge_at:
            self._judge(call.member, now)
        return output

    def _note(self, error: BaseException, conduct: Conduct, call: MemberCall, start: float) -> None:
        """What a call without an answer tells of the replica."""
        now = asyncio.get_running_loop().time()
        # What is full everywhere must not be asked twice as often either.
        call.fate.begun = call.fate.begun or not isinstance(error, BackendAway)
        match error:
            case BackendOverloaded():
                conduct.excused(now, error.retry_after)
            case BackendTimeout() | asyncio.CancelledError():
                conduct.unanswered(now, now - start)
            case BackendError() if not isinstance(error, BackendAway):
                if isinstance(error, BackendLost):
                    call.fate.lost(again=error.again)
                if _refuses(error) and self._shares.retried > 0.0:
                    conduct.refused(now)
                else:
                    conduct.failed(now)
                self._judge(call.member, now)
            case _:  # it had begun nothing; or an error of ours, which tells nothing of it
                conduct.excused(now, 0.0)

    def _judge(self, member: str, now: float) -> None:
        self._memory(member).judge_at = now + JUDGE_SECONDS
        conducts = [one.conduct for one in self._pool.replicas(member)]
        for conduct, fault in judge(conducts, self._shares.ejected, now):
            self._metrics.ejections(member, str(fault)).inc()
            seconds = round(conduct.ejected.until - now, 1) if conduct.ejected else 0.0
            log.warning("replica left out", extra={"member": member, "why": str(fault), "seconds": seconds})

    async def _hedged(self, replica: Replica, call: MemberCall, memory: _Memory) -> MemberOutput:
        """As _ask; where that takes longer than usual a second replica is asked as well. The first answer
        counts, and the other call is closed."""
        after = hedge_after(memory.latencies)
        loop = asyncio.get_running_loop()
        memory.hedges.called(loop.time())
        if after is None:
            return await self._ask(replica, call)
        first = asyncio.create_task(self._ask(replica, call))
        tasks = {first}
        try:
            done, _ = await asyncio.wait(tasks, timeout=after)
            other = None if done else self._pool.replica(call.member, loop.time(), other_than=replica)
            if other is None or not self._may_hedge(memory, call, loop.time()):
                return await first
            second = asyncio.create_task(self._hedge(other, call))
            tasks.add(second)
            return await self._first_answer(first, second, call.member)
        finally:
            await _close(tasks)

    async def _hedge(self, replica: Replica, call: MemberCall) -> MemberOutput:
        with current().part("hedge"):
            return await self._ask(replica, call)

    def _may_hedge(self, memory: _Memory, call: MemberCall, now: float) -> bool:
        if not call.fate.died and memory.hedges.take(now, self._shares.hedged):
            call.fate.hedged()
            return True
        self._metrics.hedges(call.member, "denied").inc()
        return False

    async def _first_answer(
        self, first: asyncio.Task[MemberOutput], second: asyncio.Task[MemberOutput], member: str
    ) -> MemberOutput:
        """Of whoever answers first; the first one's error where neither does."""
        done, waiting = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        if waiting and all(task.exception() is not None for task in done):
            await asyncio.wait(waiting)
        won = (
            second.done() and second.exception() is None and not (first.done() and first.exception() is None)
        )
        failed = second.done() and second.exception() is not None
        self._metrics.hedges(member, "won" if won else "failed" if failed else "lost").inc()
        return second.result() if won else await first


def _refuses(error: BackendError) -> bool:
    """Whether the model itself ran, and said no."""
    return type(error) is BackendError


def _compare(missed: Missed, other: Replica, *, others_answer: bool) -> None:
    """What another one said to that which was refused tells whose fault it was."""
    if _refuses(missed.error) and missed.replica is not None and missed.replica is not other:
        missed.replica.conduct.compared(others_answer=others_answer)
        if not others_answer:
            other.conduct.compared(others_answer=False)


async def _close(tasks: set[asyncio.Task[MemberOutput]]) -> None:
    """End what still runs; what it raises is nobody's any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_NO_TABLE = Shares()
