"""The loop of the one router that scales its pool: look at the load, decide, write, say so."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from fastserve.api.routes import RouteTable
from fastserve.api.scaling import ROW_SECONDS, ScalingDecision, ScalingState
from fastserve.cluster.leasing import Leadership, LeaseLost
from fastserve.errors import ClusterError, Conflict, LocalError
from fastserve.router.pool import Pool
from fastserve.router.scaling.deciding import Decider, Reckoned, Source
from fastserve.router.scaling.exporting import ScalingMetrics
from fastserve.router.scaling.polling import LoadSource
from fastserve.router.scaling.writing import ScaleWriter
from fastserve.scaling.ledger import Ledger

AFTER_ROW_SECONDS = 0.3
"""So long after the end of a row it is looked at: by then every router has closed it."""
LEAST_PAUSE_SECONDS = 0.25
BACK_SECONDS = 10.0
"""A clock that is put back by more ends what was known: its slots would come once more."""
WAIT_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScalerParts:
    """What a scaler needs. `leadership` is None where nobody else could scale; `source_of` makes the source
    that the table asks for; `may_stay` is false where another router had better hold the Lease."""

    pool: Pool
    metrics: ScalingMetrics
    writer: ScaleWriter
    source_of: Callable[[RouteTable], LoadSource]
    leadership: Leadership | None = None
    is_candidate: Callable[[], bool] = lambda: True
    may_stay: Callable[[], bool] = lambda: True
    clock: Callable[[], float] = time.time


class Scaler:
    """Scales while it may, for ever."""

    def __init__(self, parts: ScalerParts) -> None:
        self._parts = parts
        self._wake = asyncio.Event()
        self._source: LoadSource | None = None
        self._monitoring = ""
        self._looked_at = -inf
        self._decider: Decider | None = None

    def hurry(self) -> None:
        """Somebody waits for a sleeper: look at once."""
        self._wake.set()

    @property
    def state(self) -> ScalingState | None:
        """What it does; None where the pool scales nothing."""
        if self._table() is None:
            return None
        decider, source = self._decider, self._source
        if decider is None or source is None:
            return ScalingState(holder=False)
        return ScalingState(
            holder=True, source=source.name, problem=source.problem, decisions=decider.decisions
        )

    async def run(self) -> None:
        """Wait for the Lease, scale while it is held, and so on."""
        while True:
            if self._table() is None or not (self._parts.is_candidate() and self._parts.may_stay()):
                await asyncio.sleep(WAIT_SECONDS)
                continue
            leadership = self._parts.leadership
            if leadership is None:
                await self._scale(lambda: None)
                continue
            if not await self._acquired(leadership):
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    kept = group.create_task(leadership.keep())
                    await self._scale(leadership.check)
                    kept.cancel()
            except* LeaseLost as lost:
                log.warning("the Lease is lost", extra={"why": str(lost.exceptions[0])})
            finally:
                self._stop()
                await leadership.release()

    async def _acquired(self, leadership: Leadership) -> bool:
        """Whether it was had within a while; then it is asked again whether there is anything to scale."""
        with suppress(TimeoutError):
            async with asyncio.timeout(30.0):
                await leadership.acquire()
                return True
        return False

    async def _scale(self, check: Callable[[], None]) -> None:
        """Until there is nothing to scale any more, or another one had better do it. Raises LeaseLost."""
        ledger, decider, read = Ledger(), Decider(), self._source
        self._decider = decider
        try:
            while (table := self._table()) is not None and self._parts.may_stay():
                source = self._source_for(table)
                if source is not read:  # its rows would be counted beside the former one's
                    ledger, read = Ledger(), source
                try:
                    await source.look(ledger, self._parts.clock)
                except Exception:  # one look that fails is data that is missing
                    log.exception("the load cannot be read")
                try:
                    await self._decide(table, ledger, decider, source.lag, check)
                except LeaseLost:
                    raise
                except Exception:  # nor does a fault in a decision end a router that serves
                    log.exception("nothing is decided")
                await self._pause()
        finally:
            self._stop()

    async def _decide(
        self, table: RouteTable, ledger: Ledger, decider: Decider, lag: float, check: Callable[[], None]
    ) -> None:
        source = Source(self._parts.clock(), lag)
        scaled = {one.name: (one, one.staff) for one in table.members if one.staff is not None}
        ledger.forget(source.now)
        ledger.keep(scaled)
        reckoned: list[Reckoned] = []
        for member, staff in scaled.values():
            reckoned.append(decider.reckon(member, staff, ledger, source))
            await asyncio.sleep(0)  # requests go on between two sub-models
        self._parts.metrics.keep(frozenset(scaled))
        for settled in decider.settle(table, reckoned, source.now):
            self._parts.metrics.decided(settled.decision, settled.before)
            if settled.is_to_write:
                check()
                await self._write(settled.decision, settled.before, decider, check)

    async def _write(
        self, decision: ScalingDecision, before: int, decider: Decider, check: Callable[[], None]
    ) -> None:
        extra = {"member": decision.member, "from": before, "to": decision.replicas, "why": decision.message}
        try:
            changed = await self._parts.writer.write(decision, before, check)
        except LeaseLost:
            raise
        except Conflict:
            log.info("somebody else wrote first", extra=extra)
        except (ClusterError, LocalError) as error:
            log.warning("the number of replicas cannot be written", extra={**extra, "error": str(error)})
        else:
            decider.wrote(decision, self._parts.clock())
            if changed:
                log.info("scaled", extra={**extra, "reason": decision.reason})

    async def _pause(self) -> None:
        """Until just after the row that is under way, or until somebody hurries; never less than a while."""
        await asyncio.sleep(LEAST_PAUSE_SECONDS)
        since = (self._parts.clock() - AFTER_ROW_SECONDS) % ROW_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(ROW_SECONDS - since):
                await self._wake.wait()
        self._wake.clear()

    def _table(self) -> RouteTable | None:
        """The table, where it has anything to scale."""
        snapshot = self._parts.pool.snapshot
        if snapshot is None or all(one.staff is None for one in snapshot.table.members):
            return None
        return snapshot.table

    def _source_for(self, table: RouteTable) -> LoadSource:
        """What the table asks for, from now on; begun anew where the clock was put back."""
        wanted, now = table.monitoring.model_dump_json(), self._parts.clock()
        was_put_back, self._looked_at = now < self._looked_at - BACK_SECONDS, now
        if self._source is None or wanted != self._monitoring or was_put_back:
            self._close_source()
            self._source, self._monitoring = self._parts.source_of(table), wanted
        return self._source

    def _close_source(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None

    def _stop(self) -> None:
        self._close_source()
        self._decider = None
        self._parts.metrics.keep(frozenset())
