"""A backend whose inferences are declared waits, behind a gate, under an open-loop load; for virtual time."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fastserve.errors import BackendOverloaded, BackendTimeout
from fastserve.router.admission.gate import End, Gate
from fastserve.router.caller import ANYONE, Caller


@dataclass
class PretendBackend:
    """As Triton does: takes what has gathered, at most `batch` at once, and is done with it `seconds(n)`
    later. It goes on with what nobody waits for any more. `noise` is the share of a wait that is chance."""

    batch: int
    seconds: Callable[[int], float]
    noise: float = 0.0
    slower: float = 1.0
    gathered: deque[asyncio.Future[None]] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None
    dice: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    async def infer(self, seconds: float) -> None:
        """Raises TimeoutError after `seconds`."""
        done = asyncio.get_running_loop().create_future()
        self.gathered.append(done)
        if self.worker is None:
            self.worker = asyncio.create_task(self._work())
        async with asyncio.timeout(seconds):
            await done

    async def _work(self) -> None:
        while self.gathered:
            taken = [self.gathered.popleft() for _ in range(min(self.batch, len(self.gathered)))]
            chance = 1.0 + self.noise * (2.0 * self.dice.random() - 1.0)
            await asyncio.sleep(self.seconds(len(taken)) * self.slower * chance)
            for done in taken:
                if not done.done():
                    done.set_result(None)
        self.worker = None


@dataclass(frozen=True)
class Ended:
    """One request: when it was sent, how long until its answer, what that was."""

    caller: Caller
    sent: float
    seconds: float
    what: str


@dataclass
class Load:
    """Requests on a gate before a backend."""

    gate: Gate
    backend: PretendBackend
    ended: list[Ended] = field(default_factory=list)
    most_inside: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    dice: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    async def run(
        self, rate: float, seconds: float, allowed: float, callers: tuple[Caller, ...] = (ANYONE,)
    ) -> None:
        """`rate` requests a second at random times (Poisson), whatever becomes of those before; each is
        `allowed` so many seconds."""
        loop = asyncio.get_running_loop()
        end = at = loop.time()
        end += seconds
        while (at := at + self.dice.exponential(1.0 / rate)) < end:
            await asyncio.sleep(at - loop.time())
            caller = callers[int(self.dice.integers(len(callers)))]
            task = asyncio.create_task(self.one(caller, allowed))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def settle(self) -> None:
        while self.tasks:
            await asyncio.gather(*self.tasks)

    async def one(self, caller: Caller, allowed: float) -> None:
        sent = asyncio.get_running_loop().time()
        what = await self._ask(caller, sent + allowed)
        self.ended.append(Ended(caller, sent, asyncio.get_running_loop().time() - sent, what))

    async def _ask(self, caller: Caller, deadline: float) -> str:
        loop, gate = asyncio.get_running_loop(), self.gate
        start = loop.time()
        try:
            if not gate.take(start, deadline):
                await gate.wait(caller, deadline)
                start = loop.time()
        except BackendOverloaded:
            return "shed"
        except BackendTimeout:
            return "expired"
        inside = gate.in_flight - 1
        self.most_inside = max(self.most_inside, gate.in_flight)
        end = End.ABANDONED
        try:
            await self.backend.infer(deadline - start)
            end = End.ANSWERED
        except TimeoutError:
            end = End.LATE
        finally:
            gate.leave(start, loop.time(), inside, end)
        return "answered" if end is End.ANSWERED else "late"

    def counted(self, begin: float, end: float) -> Counter[str]:
        """What became of those sent from `begin` to `end`."""
        return Counter(one.what for one in self.ended if begin <= one.sent < end)

    def answered(self, begin: float, end: float) -> float:
        """Answers per second from `begin` to `end`."""
        times = (one.sent + one.seconds for one in self.ended if one.what == "answered")
        return sum(begin <= at < end for at in times) / (end - begin)
