"""Where requests for sub-models that sleep are held until one of the replicas is ready.

They go on as fast as the replicas take them: as many at once as these let in, and the next one whenever one
has its answer. Nobody is told that there is no room while the deadline lets it wait.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from fastserve.api.routes import Member
from fastserve.errors import BackendOverloaded, BackendTimeout, BackendUnavailable
from fastserve.router.scaling.meter import Meter
from fastserve.router.scaling.sleepers import due_in, sleeps

LOOK_SECONDS = 0.05
"""How often is looked whether one is awake."""
USUAL_LOAD_SECONDS = 30.0
"""Until one is known."""
_NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Sleeper:
    """What is known of one that sleeps or slept. `woken_at` is when it was to have replicas again, in the
    loop's time, `awake` whether one was ready since; `under_way` are those that were held and are asked now.
    """

    woken_at: float | None = None
    awake: bool = False
    load_seconds: float = 0.0
    under_way: int = 0
    queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    watch: asyncio.Task[None] | None = None


class Replicas(Protocol):
    """Who can be asked."""

    def is_ready(self, member: str) -> bool: ...

    def count_ready(self, member: str) -> int: ...


class Waking:
    """Holds requests for the sub-models of one route table."""

    def __init__(self, replicas: Replicas, meter: Meter) -> None:
        self._replicas = replicas
        self._meter = meter
        self._members: Mapping[str, Member] = {}
        self._candidates: tuple[str, ...] = ()
        """Those that sleep while no replica of theirs is ready."""
        self._room = 0
        self._is_first_table = True
        self._sleepers: dict[str, _Sleeper] = {}
        self.on_hold: Callable[[], None] = lambda: None
        """Called for each request that is held: whoever scales may be in the same process."""

    def take(self, members: Mapping[str, Member], room: int, now: float) -> None:
        """Take over a new route table; `room` is how many may be held for each."""
        for name, member in members.items():
            to_run = member.staff.replicas if member.staff is not None else None
            if not to_run:
                self._of(name).woken_at = None
            elif self._runs_none(name) or self._may_be_waking(name, member):
                self._of(name).woken_at, self._of(name).awake = now, False
        self._members, self._room, self._is_first_table = members, room, False
        self._sleepers = {
            name: one for name, one in self._sleepers.items() if name in members or one.queue or one.under_way
        }
        self._candidates = tuple(
            name for name in members if self._runs_none(name) or self._of(name).woken_at is not None
        )

    def asleep(self) -> frozenset[str]:
        """Names of the sub-models that are woken where they are asked."""
        return frozenset(filter(self.sleeps, self._candidates)) if self._candidates else _NOBODY

    def sleeps(self, member: str) -> bool:
        """Whether requests for it are held."""
        if member not in self._candidates:
            return False
        sleeper = self._of(member)
        return sleeps(
            self._members[member].staff,
            ready=self._replicas.is_ready(member),
            woken_at=sleeper.woken_at,
            load_seconds=sleeper.load_seconds,
            now=asyncio.get_running_loop().time(),
        )

    @asynccontextmanager
    async def turn(self, member: str, deadline: float) -> AsyncIterator[None]:
        """Wait until a replica is ready and this one's turn has come; inside, it is asked. Raises
        BackendOverloaded where too many wait, BackendTimeout at the deadline, BackendUnavailable where the
        sub-model is removed meanwhile."""
        sleeper = self._of(member)
        await self._wait(sleeper, member, deadline)
        try:
            yield
        finally:
            sleeper.under_way -= 1
            self._let_go(member, sleeper)

    def _may_be_waking(self, name: str, member: Member) -> bool:
        """Whether a door that reads its first table finds one without replicas that may sleep: it is perhaps
        being woken just now, by another door's requests."""
        least = member.staff.least if member.staff is not None else 1
        return self._is_first_table and least == 0 and not self._replicas.is_ready(name)

    def _runs_none(self, member: str) -> bool:
        known = self._members.get(member)
        return known is not None and known.staff is not None and known.staff.replicas == 0

    async def _wait(self, sleeper: _Sleeper, member: str, deadline: float) -> None:
        loop, door = asyncio.get_running_loop(), self._meter.door(member)
        start = loop.time()
        if door.held >= self._room:
            raise BackendOverloaded(
                f"{member} is being woken, and {door.held} requests wait for that (limits.maxQueue is"
                f" {self._room})",
                self._due_in(sleeper, start),
            )
        turn = self._queue(sleeper, member)
        door.held += 1
        self.on_hold()
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn in sleeper.queue:
                sleeper.queue.remove(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                sleeper.under_way -= 1  # its turn came just now
            if not isinstance(error, TimeoutError):
                raise
            waited = f"the deadline passed after {loop.time() - start:.3f} s"
            raise BackendTimeout(f"{member} slept and is being woken; {waited}") from error
        finally:
            door.held -= 1

    def _queue(self, sleeper: _Sleeper, member: str) -> asyncio.Future[None]:
        turn = asyncio.get_running_loop().create_future()
        sleeper.queue.append(turn)
        if sleeper.watch is None:
            sleeper.watch = asyncio.create_task(self._watch(member, sleeper))
        return turn

    async def _watch(self, member: str, sleeper: _Sleeper) -> None:
        """Look whether it is awake, as long as somebody waits for that."""
        while sleeper.queue:
            self._let_go(member, sleeper)
            await asyncio.sleep(LOOK_SECONDS)
        sleeper.watch = None

    def _let_go(self, member: str, sleeper: _Sleeper) -> None:
        """Whose turn it is, as far as there is room with the replicas that are ready."""
        known = self._members.get(member)
        replicas = self._replicas.count_ready(member)
        if replicas:
            self._awake(sleeper)
        room = replicas * known.max_concurrency if known is not None else 0
        while sleeper.queue and (known is None or sleeper.under_way < room):
            turn = sleeper.queue.popleft()
            if turn.done():
                continue
            if known is None:
                turn.set_exception(BackendUnavailable(f"{member} was removed while it was woken"))
            else:
                sleeper.under_way += 1
                turn.set_result(None)

    def _awake(self, sleeper: _Sleeper) -> None:
        """How long it took is what it will take the next time."""
        if sleeper.woken_at is not None and not sleeper.awake:
            sleeper.load_seconds = asyncio.get_running_loop().time() - sleeper.woken_at
        sleeper.awake = True

    def _of(self, member: str) -> _Sleeper:
        return self._sleepers.setdefault(member, _Sleeper())

    def _due_in(self, sleeper: _Sleeper, now: float) -> float:
        seconds = sleeper.load_seconds or USUAL_LOAD_SECONDS
        return due_in(woken_at=sleeper.woken_at, load_seconds=seconds, now=now)
