"""The loop that keeps this router's Triton at the version that the route table names.

Read what is → ask loading.next_action → do that one step; again at once while something is under way.
"""

import asyncio
import logging

from fastserve.api.versions import CANDIDATE_LOST
from fastserve.errors import BackendUnavailable
from fastserve.router import loading
from fastserve.router.bookkeeping import failure_of
from fastserve.router.bringing import Bringing
from fastserve.router.known import Known, SidecarParts
from fastserve.router.loading import Action, Kind
from fastserve.router.looking import Looking
from fastserve.router.model_files import (
    discard,
)
from fastserve.router.repository import remove_model
from fastserve.router.versions.driving import Course, Drive
from fastserve.router.versions.swapping import SwapClock
from fastserve.router.versions.trial import Trial

REST_SECONDS = 1.0
BUSY_SECONDS = 0.25
log = logging.getLogger(__name__)


class Sidecar:
    """Drives one Triton. `known`, `swap` and `because` are read by the state."""

    def __init__(self, parts: SidecarParts) -> None:
        self._parts = parts
        self._logged = ""
        self.known = Known(parts, Course(parts.instance))
        self.swap = SwapClock(parts.metrics)
        self.because = "the router starts"
        self._looking = Looking(self.known, self.swap)
        self._bringing = Bringing(self.known)

    async def run(self) -> None:
        """Step after step, for ever."""
        while True:
            try:
                action = await self._step()
            except BackendUnavailable as error:
                action = Action(Kind.WAIT, because=str(error))
            self._say(action)
            resting = action.kind is Kind.REST and self._parts.replica.health.health == "Healthy"
            # Nobody waits for what is tidied away, and what cannot be must not be tried without a pause.
            if action.kind in (Kind.REST, Kind.WAIT, Kind.REMOVE, Kind.DISCARD):
                await self._parts.replica.doubted(REST_SECONDS if resting else BUSY_SECONDS)

    async def close(self) -> None:
        await self._bringing.close()
        await self._parts.control.close()

    async def _step(self) -> Action:
        drive = self._aim()
        seen = await self._looking.look(drive.target)
        action = loading.next_action(seen)
        self.swap.take(action, seen)
        version = self.known.book.version(action.model, drive.target)
        if version is not None and action.kind in (Kind.FETCH, Kind.CHECK):
            self._bringing.start_fetching(version)
        elif version is not None and action.kind is Kind.LOAD:
            if loading.READY not in seen.index.values():
                self._parts.on_restart(self.known.away_at)
            self._bringing.start_loading(version)
        elif version is not None and action.kind is Kind.PROVE:
            self._bringing.start_proving(version)
        elif action.kind is Kind.SWITCH:
            if drive.rollout is not None and action.model == drive.rollout.candidate.model_name:
                self._parts.metrics.swaps("exchanged").inc()
            self._parts.replica.switch(self.known.book.proved[action.model])
        elif action.kind is Kind.SHARE:
            self._parts.replica.trial = Trial(self.known.book.proved[action.model], drive.share)
        elif action.kind is Kind.LEAVE:
            self._parts.replica.away = action.because
            self.known.course.left_at = asyncio.get_running_loop().time()
        elif action.kind is Kind.UNLOAD:
            await self._unload(action.model)
        else:
            await asyncio.to_thread(self._tidy, action)
        return action

    def _aim(self) -> Drive:
        """What this router drives at from now on; what is under way for anything else ends."""
        parts, before = self._parts, self.known.drive
        self._give_up_lost()
        drive = self.known.drive = self.known.course.drive(self.known.member)
        if self.known.book.take_target(drive.target):
            self._bringing.overtaken(before)
        self.known.book.take_stable(drive.stable)
        name, trial = drive.target.model_name if drive.target else "", parts.replica.trial
        if trial is not None and trial.serving.name != name:
            parts.replica.trial = None
        elif trial is not None:
            trial.share = drive.share
        if self.known.course.leaving != name:
            self.known.course.leaving, parts.replica.away = "", ""
        return drive

    def _give_up_lost(self) -> None:
        """Go back at once where the candidate answered and does not any more, and the stable one could."""
        drive, replica = self.known.drive, self._parts.replica
        if drive.rollout is None or drive.target is None or drive.stable is None:
            return
        name, trial, current = drive.target.model_name, replica.trial, replica.current
        lost = trial is not None and trial.lost
        if current is not None and current.name == name:
            lost = not replica.health.ready
        if lost and drive.stable.model_name in self.known.book.proved:
            failure = failure_of(CANDIDATE_LOST, f"{name} answered and does not any more")
            self.known.course.give_up(drive.rollout, failure, 0)
            self._parts.metrics.swaps("lost").inc()
            log.error("candidate lost", extra={"model": name})

    def _tidy(self, action: Action) -> None:
        models = self._parts.places.models
        if action.kind is Kind.REMOVE:
            remove_model(self._parts.repository, action.model)
        elif action.kind is Kind.DISCARD and models is not None:
            discard(models, action.model)

    async def _unload(self, name: str) -> None:
        replica = self._parts.replica
        self._bringing.stop_proving()
        self.known.book.proved.pop(name, None)
        if replica.current is not None and replica.current.name == name:
            trial = replica.trial
            replica.switch(trial.serving if trial is not None and trial.serving.name != name else None)
        await self._parts.control.unload(name)
        self.known.book.dead_since = None

    def _say(self, action: Action) -> None:
        self.because = action.because
        if action.because != self._logged:
            self._logged = action.because
            log.info(action.because, extra={"step": str(action.kind), "model": action.model})
