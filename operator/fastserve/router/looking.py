"""What a sidecar sees before each step: Triton, the engine behind it, the files, and its own replica."""

import asyncio
import logging
from collections.abc import Mapping

from fastserve.api.routes import Target
from fastserve.router import loading
from fastserve.router.engine_socket import is_gone, read_report
from fastserve.router.engine_watch import EngineLook, EngineWatch
from fastserve.router.known import Known
from fastserve.router.loading import Seen
from fastserve.router.model_files import (
    found_files,
    leftovers,
    unused,
)
from fastserve.router.repository import models_in
from fastserve.router.versions.admitting import admit_beside
from fastserve.router.versions.swapping import SwapClock

LEAVE_SECONDS = 1.5
"""Peers look at each other every second at the latest."""
log = logging.getLogger(__name__)


class Looking:
    """Reads everything that the next step depends on."""

    def __init__(self, known: Known, swap: SwapClock) -> None:
        self._known = known
        self._swap = swap
        self._engine = EngineWatch(known.book, known.parts.replica, known.parts.metrics)

    async def look(self, target: Target | None) -> Seen:
        """Read everything that the next step depends on; forget what is no longer so."""
        parts, book = self._known.parts, self._known.book
        busy = self._known.loading  # before the index is read: a load that ends meanwhile is not in it yet
        self._known.live = await parts.control.live()
        book.note_live(live=self._known.live)
        if not self._known.live:
            self._known.away_at = asyncio.get_running_loop().time()
        index = await parts.control.index() if self._known.live else {}
        self._forget(index)
        self._known.report = None
        if target is not None:
            await self._look_at_engine(target, index)
        if busy is None:
            await self._admit(index)
        now = asyncio.get_running_loop().time()
        serving = parts.replica.current
        files = found_files(target, parts.places)
        left = leftovers(parts.places.models, files.key if files else "")
        spare = book.spare_beside(target, parts.places)
        drive, trial = self._known.drive, parts.replica.trial
        held = {name for name, state in index.items() if state == loading.READY or state in loading.GOING}
        held |= {spare.target.model_name} if spare else set()
        return Seen(
            now=now,
            live=self._known.live,
            target=target.model_name if target else None,
            index=index,
            serving=serving.name if serving else None,
            loading=busy,
            proved=frozenset(book.proved),
            proving=frozenset(self._known.proofs),
            rendered=models_in(parts.repository),
            in_flight=parts.replica.by_version,
            retry_at=book.retry_at,
            dead_since=book.dead_since,
            patience=self._engine.patience,
            fetched=target is None or (files is not None and files.there),
            fetching=self._known.fetch is not None,
            checked=files is None or not files.mounted or book.checked == book.target[0],
            leftovers=left,
            unused=unused(left, [book.keys.get(name) for name in held] if self._known.live else [None]),
            spare=spare.target.model_name if spare and now >= spare.retry_at else None,
            stable=drive.stable.model_name if drive.stable else None,
            stable_retry_at=book.spare.retry_at if book.spare and drive.stable else 0.0,
            share=drive.share,
            trial=trial.serving.name if trial else None,
            watched=self._watched().model_name if target else None,
            paused=drive.paused,
            leaving=bool(self._known.course.leaving),
            away=bool(parts.replica.away),
            drained=self._drained(now),
        )

    def _forget(self, index: dict[str, str]) -> None:
        """Only what Triton shows as READY counts as loaded: it may have died and come back empty."""
        replica = self._known.parts.replica
        for name in [one for one in self._known.book.proved if index.get(one) != loading.READY]:
            del self._known.book.proved[name]
        trial = replica.trial
        if trial is not None and trial.serving.name not in self._known.book.proved:
            trial.lost = True
        if replica.current is not None and replica.current.name not in self._known.book.proved:
            log.warning("model lost", extra={"model": replica.current.name})
            replica.switch(None)

    def _drained(self, now: float) -> bool:
        """Whether nobody waits for what serves, where this router left the pool; peers learn of it late."""
        gone = now - self._known.course.left_at
        return gone >= LEAVE_SECONDS and (
            self._known.parts.replica.in_flight == 0 or gone >= self._known.parts.drain_seconds
        )

    async def _admit(self, index: Mapping[str, str]) -> None:
        """Decide once whether the candidate is loaded beside what serves."""
        drive, course = self._known.drive, self._known.course
        if drive.rollout is None or drive.target is None or drive.stable is None or course.leaving:
            return
        target, stable = drive.target, drive.stable
        beside = index.get(stable.model_name) in (loading.READY, *loading.GOING)
        if index.get(target.model_name) in (loading.READY, *loading.GOING):
            # An earlier router's doing: what it left out there was no room for.
            here = beside or self._known.load or course.admitted == target.model_name
            course.leaving = "" if here else target.model_name
        elif beside and self._known.load is None:
            report = await read_report(self._known.socket_of(stable))
            admission = await asyncio.to_thread(admit_beside, drive, report, self._known.parts.places)
            course.admitted = target.model_name if admission.beside else ""
            course.leaving = "" if admission.beside else target.model_name
            self._swap.because = admission.because

    def _watched(self) -> Target:
        """Whose engine is looked at: the version that requests depend on."""
        drive, current = self._known.drive, self._known.parts.replica.current
        if drive.stable is not None and current is not None and current.name == drive.stable.model_name:
            return drive.stable
        if drive.target is None:
            raise ValueError("a router without a target watches nothing")
        return drive.target

    async def _look_at_engine(self, wanted: Target, index: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        target = self._watched()
        begun, path = loop.time(), self._known.socket_of(target)
        report = self._known.report = await read_report(path)
        if wanted is not target:
            self._known.report = await read_report(self._known.socket_of(wanted))
        loaded = index.get(target.model_name) == loading.READY and self._known.load is None
        gone = report is None and loaded and not target.custom and await is_gone(path)
        look = EngineLook(target.model_name, target.custom, loaded, report, gone, begun, loop.time())
        self._engine.take(look)
