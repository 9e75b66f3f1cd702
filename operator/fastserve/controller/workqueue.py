"""Which pool is looked at when: serial for one key, a few keys at once, and every reason to look counts
once, however often it is told. What an event tells comes before what only a clock asks for: hundreds of
pools that wait for their routers, each looked at again every second, would else hold up the one that its
user just changed.

Nothing is remembered but when to look next. All methods belong to one event loop.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from fastserve.api.objects import ObjectKey
from fastserve.errors import FastServeError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a look at a pool found. `recheck_after`: seconds until the next one where no event may tell;
    `gone`: there is nothing left to look at."""

    recheck_after: float | None = None
    gone: bool = False


@dataclass(frozen=True)
class Pace:
    """Seconds, but for `workers` and `rechecks`. `gap` lies between the beginnings of two looks at one key; a
    look that takes longer than `limit` has failed; `patience` is how much longer a look waits for a worker
    that no event asked for, and `rechecks` how many of those begin in a second at most; `resync` is when a
    key is looked at again though nothing was told, the safety net for an event that got lost."""

    workers: int = 6
    gap: float = 0.5
    first_backoff: float = 1.0
    longest_backoff: float = 60.0
    resync: float = 600.0
    limit: float = 120.0
    patience: float = 60.0
    rechecks: float = 20.0


SPREAD: Final = (0.8, 1.2)
Work = Callable[[ObjectKey], Awaitable[Outcome]]
Heard = Callable[[ObjectKey, str, float], None]


@dataclass
class _Entry:
    due: float | None = None
    """Its place among those that wait for a worker; None while it does not."""
    is_running: bool = False
    is_told: bool = False
    failures: int = 0
    began: float = float("-inf")
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class WorkQueue:
    """Calls `work` for every key that is added. `heard` is told the result of each look (done, gone,
    failed) and its seconds."""

    def __init__(self, work: Work, pace: Pace, heard: Heard) -> None:
        self._work = work
        self._pace = pace
        self._heard = heard
        self._entries: dict[ObjectKey, _Entry] = {}
        self._ready: asyncio.PriorityQueue[tuple[float, ObjectKey]] = asyncio.PriorityQueue()
        self._next_recheck = float("-inf")

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return sum(entry.due is not None for entry in self._entries.values())

    @property
    def keys(self) -> frozenset[ObjectKey]:
        return frozenset(self._entries)

    def add(self, key: ObjectKey) -> None:
        """Look at `key` soon: at once, unless the last look began just now. Ends any back-off."""
        entry = self._entries.setdefault(key, _Entry())
        if entry.is_running:
            entry.is_told = True
        elif entry.due is None:
            self._look_at(key, entry, entry.began + self._pace.gap)
        else:
            self._make_ready(key, entry, 0.0)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._pace.workers):
                    workers.create_task(self._take_turns())
        finally:
            for entry in self._entries.values():
                entry.cancel_timer()

    async def _take_turns(self) -> None:
        while True:
            due, key = await self._ready.get()
            entry = self._entries.get(key)
            if entry is None or entry.due != due:
                continue  # an event brought it forward
            entry.due, entry.is_running = None, True
            entry.began = asyncio.get_running_loop().time()
            outcome = await self._look(key)
            entry.is_running = False
            self._settle(key, entry, outcome)

    async def _look(self, key: ObjectKey) -> Outcome | None:
        """The outcome, or None for a look that failed; a bug never ends the queue."""
        result, began = "failed", asyncio.get_running_loop().time()
        place = {"namespace": key.namespace, "pool": key.name}
        try:
            async with asyncio.timeout(self._pace.limit):
                outcome = await self._work(key)
            result = "gone" if outcome.gone else "done"
            return outcome
        except FastServeError as error:
            LOG.warning("looking failed: %s", error, extra={**place, "reason": error.reason})
        except TimeoutError:
            LOG.error("looking took over %g s", self._pace.limit, extra={**place, "reason": "Timeout"})
        except Exception:
            LOG.exception("looking failed, which it must not", extra={**place, "reason": "Bug"})
        finally:
            self._heard(key, result, asyncio.get_running_loop().time() - began)
        return None

    def _settle(self, key: ObjectKey, entry: _Entry, outcome: Outcome | None) -> None:
        entry.failures = 0 if outcome is not None else entry.failures + 1
        if entry.is_told:
            entry.is_told = False
            self.add(key)
        elif outcome is None:
            self._look_in(key, entry, self._backoff(entry.failures))
        elif outcome.gone:
            del self._entries[key]
        elif outcome.recheck_after is not None:
            self._look_in(key, entry, outcome.recheck_after)
        else:
            self._look_in(key, entry, self._pace.resync * random.uniform(*SPREAD))  # noqa: S311

    def _look_in(self, key: ObjectKey, entry: _Entry, seconds: float) -> None:
        """Look again after so many seconds, if no event tells before."""
        entry.cancel_timer()
        entry.timer = asyncio.get_running_loop().call_later(seconds, self._recheck, key, entry)

    def _recheck(self, key: ObjectKey, entry: _Entry) -> None:
        """Its time has come; so many come at once that they take turns."""
        loop = asyncio.get_running_loop()
        turn = max(self._next_recheck, loop.time())
        self._next_recheck = turn + 1 / self._pace.rechecks
        entry.timer = loop.call_at(turn, self._make_ready, key, entry, self._pace.patience)

    def _look_at(self, key: ObjectKey, entry: _Entry, moment: float) -> None:
        """Look at that moment of the loop's clock, or now where it is over: an event tells of it."""
        entry.cancel_timer()
        loop = asyncio.get_running_loop()
        if moment > loop.time():
            entry.timer = loop.call_at(moment, self._make_ready, key, entry, 0.0)
        else:
            self._make_ready(key, entry, 0.0)

    def _make_ready(self, key: ObjectKey, entry: _Entry, patience: float) -> None:
        entry.timer = None
        due = asyncio.get_running_loop().time() + patience
        if entry.due is None or due < entry.due:
            entry.due = due
            self._ready.put_nowait((due, key))

    def _backoff(self, failures: int) -> float:
        longest = self._pace.first_backoff * 2.0 ** min(failures - 1, 16)
        spread = random.uniform(*SPREAD)  # noqa: S311 - spreads load, hides nothing
        return float(min(longest * spread, self._pace.longest_backoff))
