"""The loop that keeps this router's Triton at the version that the route table names.

Read what is → ask loading.next_action → do that one step; again at once while something is under way.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastserve.api.engine import EngineReport
from fastserve.api.meta import Failure, LoadProgress
from fastserve.api.modelpool import Task
from fastserve.api.routes import Member, Target
from fastserve.api.versions import CANDIDATE_LOST, LOAD_TIMEOUT, TRITON_ENDED
from fastserve.errors import BackendUnavailable, FastServeError, InvalidSpec
from fastserve.router import loading
from fastserve.router.bookkeeping import Bookkeeping, Phase, failure_of
from fastserve.router.custom_model import CONFIG
from fastserve.router.engine_socket import is_gone, read_report
from fastserve.router.engine_watch import EngineLook, EngineWatch
from fastserve.router.fetch_child import FetchChild
from fastserve.router.loading import Action, Kind, Seen
from fastserve.router.metrics import Metrics
from fastserve.router.model_files import (
    ModelPlaces,
    discard,
    files_of,
    found_files,
    leftovers,
    unused,
    version_of,
)
from fastserve.router.mounted_check import MountedCheck
from fastserve.router.proving import Candidate, prove
from fastserve.router.rendering import Rendering, render, socket_name
from fastserve.router.repository import models_in, remove_model
from fastserve.router.serving import OwnReplica
from fastserve.router.table import TableSnapshot, max_batch
from fastserve.router.triton import LoadFailed, TritonControl
from fastserve.router.versions.admitting import admit_beside
from fastserve.router.versions.comparing import check_agreement, compare
from fastserve.router.versions.driving import Course, Drive, for_good
from fastserve.router.versions.swapping import SwapClock
from fastserve.router.versions.trial import Serving, Trial

REST_SECONDS = 1.0
BUSY_SECONDS = 0.25
LEAVE_SECONDS = 1.5
"""Peers look at each other every second at the latest."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SidecarParts:
    """What a sidecar works with."""

    member: str
    repository: Path
    places: ModelPlaces
    instance: str
    """This router, as a rollout names it."""
    drain_seconds: float
    """How long requests may take to end where this router leaves the pool to make room."""
    control: TritonControl
    replica: OwnReplica
    metrics: Metrics
    snapshot: Callable[[], TableSnapshot | None]
    on_restart: Callable[[], None]
    """Called before a Triton that holds nothing is given something: it has just been started."""


class Sidecar:
    """Drives one Triton. `live`, `because`, `report` and `book` are read by the state."""

    def __init__(self, parts: SidecarParts) -> None:
        self._parts = parts
        self._loading: tuple[str, asyncio.Task[None]] | None = None
        self._fetching: tuple[FetchChild | MountedCheck, asyncio.Task[None]] | None = None
        self._logged = ""
        self.book = Bookkeeping()
        self.course = Course(parts.instance)
        self.drive = Drive(None)
        self.swap = SwapClock(parts.metrics)
        self._engine = EngineWatch(self.book, parts.replica, parts.metrics)
        self.live = False
        self.because = "the router starts"
        self.report: EngineReport | None = None

    @property
    def loading(self) -> str | None:
        """Name in Triton of the version that is being loaded now."""
        return self._loading[0] if self._loading else None

    @property
    def member(self) -> Member | None:
        snapshot = self._parts.snapshot()
        return snapshot.members.get(self._parts.member) if snapshot else None

    @property
    def failure(self) -> Failure | None:
        """The last failure, with the line that matters; none of a target that was just exchanged."""
        target = self.drive.target
        return self.book.last_failure(self.report) if self.book.is_about(target) else None

    def progress(self, target: Target) -> LoadProgress:
        """How far the target is."""
        report, child = self.report, self._fetching[0] if self._fetching else None
        done, total = (report.bytes_done, report.bytes_total) if report else (0, 0)
        if child is not None:
            done, total = child.bytes_done, child.bytes_total
        doing: Phase = "Loading" if self.loading == target.model_name else "Pending"
        if child is not None:
            doing = child.phase
        fetched = done if child is not None else 0
        return LoadProgress(phase=self.book.phase(target, doing, fetched), bytes_done=done, bytes_total=total)

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
        for running in (self._loading, self._fetching):
            if running is not None:
                running[1].cancel()
                await asyncio.wait([running[1]])
        await self._parts.control.close()

    def socket_of(self, target: Target) -> Path:
        return self._parts.places.run / socket_name(target)

    async def _step(self) -> Action:
        drive = self._aim()
        seen = await self._look(drive.target)
        action = loading.next_action(seen)
        self.swap.take(action, seen)
        version = self.book.version(action.model, drive.target)
        if version is not None and action.kind in (Kind.FETCH, Kind.CHECK):
            self._start_fetching(version)
        elif version is not None and action.kind is Kind.LOAD:
            if loading.READY not in seen.index.values():
                self._parts.on_restart()
            self._loading = (version.model_name, asyncio.create_task(self._load(version)))
        elif version is not None and action.kind is Kind.PROVE:
            await self._prove(version)
        elif action.kind is Kind.SWITCH:
            if drive.rollout is not None and action.model == drive.rollout.candidate.model_name:
                self._parts.metrics.swaps("exchanged").inc()
            self._parts.replica.switch(self.book.proved[action.model])
        elif action.kind is Kind.SHARE:
            self._parts.replica.trial = Trial(self.book.proved[action.model], drive.share)
        elif action.kind is Kind.LEAVE:
            self._parts.replica.away = action.because
            self.course.left_at = asyncio.get_running_loop().time()
        elif action.kind is Kind.UNLOAD:
            await self._unload(action.model)
        else:
            await asyncio.to_thread(self._tidy, action)
        return action

    def _aim(self) -> Drive:
        """What this router drives at from now on; what is under way for anything else ends."""
        parts, before = self._parts, self.drive
        self._give_up_lost()
        drive = self.drive = self.course.drive(self.member)
        if self.book.take_target(drive.target):
            if self._fetching is not None:
                self._fetching[1].cancel()
            if self._loading is not None and before.rollout is not None:
                self._loading[1].cancel()  # Triton goes on; what comes of it is unloaded
        self.book.take_stable(drive.stable)
        name, trial = drive.target.model_name if drive.target else "", parts.replica.trial
        if trial is not None and trial.serving.name != name:
            parts.replica.trial = None
        elif trial is not None:
            trial.share = drive.share
        if self.course.leaving != name:
            self.course.leaving, parts.replica.away = "", ""
        return drive

    def _give_up_lost(self) -> None:
        """Go back at once where the candidate answered and does not any more, and the stable one could."""
        drive, replica = self.drive, self._parts.replica
        if drive.rollout is None or drive.target is None or drive.stable is None:
            return
        name, trial, current = drive.target.model_name, replica.trial, replica.current
        lost = trial is not None and trial.lost
        if current is not None and current.name == name:
            lost = not replica.health.ready
        if lost and drive.stable.model_name in self.book.proved:
            failure = failure_of(CANDIDATE_LOST, f"{name} answered and does not any more")
            self.course.give_up(drive.rollout, failure, 0)
            self._parts.metrics.swaps("lost").inc()
            log.error("candidate lost", extra={"model": name})

    def _tidy(self, action: Action) -> None:
        models = self._parts.places.models
        if action.kind is Kind.REMOVE:
            remove_model(self._parts.repository, action.model)
        elif action.kind is Kind.DISCARD and models is not None:
            discard(models, action.model)

    async def _look(self, target: Target | None) -> Seen:
        """Read everything that the next step depends on; forget what is no longer so."""
        parts, book = self._parts, self.book
        busy = self.loading  # before the index is read: a load that ends meanwhile is not in it yet
        self.live = await parts.control.live()
        book.note_live(live=self.live)
        index = await parts.control.index() if self.live else {}
        self._forget(index)
        self.report = None
        if target is not None:
            await self._look_at_engine(target, index)
        if busy is None:
            await self._admit(index)
        now = asyncio.get_running_loop().time()
        serving = parts.replica.current
        files = found_files(target, parts.places)
        left = leftovers(parts.places.models, files.key if files else "")
        spare = book.spare_beside(target, parts.places)
        drive, trial = self.drive, parts.replica.trial
        held = {name for name, state in index.items() if state == loading.READY or state in loading.GOING}
        held |= {spare.target.model_name} if spare else set()
        return Seen(
            now=now,
            live=self.live,
            target=target.model_name if target else None,
            index=index,
            serving=serving.name if serving else None,
            loading=busy,
            proved=frozenset(book.proved),
            rendered=models_in(parts.repository),
            in_flight=parts.replica.by_version,
            retry_at=book.retry_at,
            dead_since=book.dead_since,
            patience=self._engine.patience,
            fetched=target is None or (files is not None and files.there),
            fetching=self._fetching is not None,
            checked=files is None or not files.mounted or book.checked == book.target[0],
            leftovers=left,
            unused=unused(left, [book.keys.get(name) for name in held] if self.live else [None]),
            spare=spare.target.model_name if spare and now >= spare.retry_at else None,
            stable=drive.stable.model_name if drive.stable else None,
            stable_retry_at=book.spare.retry_at if book.spare and drive.stable else 0.0,
            share=drive.share,
            trial=trial.serving.name if trial else None,
            watched=self._watched().model_name if target else None,
            paused=drive.paused,
            leaving=bool(self.course.leaving),
            away=bool(parts.replica.away),
            drained=self._drained(now),
        )

    def _forget(self, index: dict[str, str]) -> None:
        """Only what Triton shows as READY counts as loaded: it may have died and come back empty."""
        replica = self._parts.replica
        for name in [one for one in self.book.proved if index.get(one) != loading.READY]:
            del self.book.proved[name]
        trial = replica.trial
        if trial is not None and trial.serving.name not in self.book.proved:
            trial.lost = True
        if replica.current is not None and replica.current.name not in self.book.proved:
            log.warning("model lost", extra={"model": replica.current.name})
            replica.switch(None)

    def _drained(self, now: float) -> bool:
        """Whether nobody waits for what serves, where this router left the pool; peers learn of it late."""
        gone = now - self.course.left_at
        return gone >= LEAVE_SECONDS and (
            self._parts.replica.in_flight == 0 or gone >= self._parts.drain_seconds
        )

    async def _admit(self, index: Mapping[str, str]) -> None:
        """Decide once whether the candidate is loaded beside what serves."""
        drive, course = self.drive, self.course
        if drive.rollout is None or drive.target is None or drive.stable is None or course.leaving:
            return
        target, stable = drive.target, drive.stable
        beside = index.get(stable.model_name) in (loading.READY, *loading.GOING)
        if index.get(target.model_name) in (loading.READY, *loading.GOING):
            # An earlier router's doing: what it left out there was no room for.
            course.leaving = "" if beside or self._loading else target.model_name
        elif beside and self._loading is None:
            report = await read_report(self.socket_of(stable))
            admission = await asyncio.to_thread(admit_beside, drive, report, self._parts.places)
            course.leaving = "" if admission.beside else target.model_name
            self.swap.because = admission.because

    def _watched(self) -> Target:
        """Whose engine is looked at: the version that requests depend on."""
        drive, current = self.drive, self._parts.replica.current
        if drive.stable is not None and current is not None and current.name == drive.stable.model_name:
            return drive.stable
        if drive.target is None:
            raise ValueError("a router without a target watches nothing")
        return drive.target

    async def _look_at_engine(self, wanted: Target, index: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        target = self._watched()
        begun, path = loop.time(), self.socket_of(target)
        report = self.report = await read_report(path)
        if wanted is not target:
            self.report = await read_report(self.socket_of(wanted))
        loaded = index.get(target.model_name) == loading.READY and self._loading is None
        gone = report is None and loaded and not target.custom and await is_gone(path)
        look = EngineLook(target.model_name, target.custom, loaded, report, gone, begun, loop.time())
        self._engine.take(look)

    def _start_fetching(self, target: Target) -> None:
        """Fetch beside the loop, so that the old version is watched."""
        try:
            files = files_of(target, self._parts.places)
        except InvalidSpec as error:
            self._fail(target.model_name, error)
            return
        child = FetchChild(target, files, self._parts.places) if files.key else MountedCheck(target, files)
        self._fetching = (child, asyncio.create_task(self._fetch(child)))

    async def _fetch(self, child: FetchChild | MountedCheck) -> None:
        try:
            await child.run()
            self.book.failures, self.book.failure, self.book.checked = 0, None, child.model_name
        except (FastServeError, OSError) as error:
            self.book.failed_bytes = max(self.book.failed_bytes, child.bytes_done)
            self._fail(child.model_name, error)
        except Exception as error:  # tried again at once it would only happen again, for ever
            log.exception("fetching failed")
            self._fail(child.model_name, error)
        finally:
            self._fetching = None

    async def _load(self, target: Target) -> None:
        """Render and load; runs beside the loop, so that progress and the old version are watched."""
        start = asyncio.get_running_loop().time()
        try:
            snapshot, parts = self._parts.snapshot(), self._parts
            task = snapshot.table.task if snapshot else Task.TEXT_CLASSIFICATION
            into = Rendering(parts.repository / target.model_name, self.socket_of(target), task)
            files = files_of(target, parts.places)
            self.book.keys[target.model_name] = files.key
            checked, self.book.checked = self.book.checked == target.model_name, ""
            if not checked:
                await MountedCheck(target, files).run()
            await asyncio.to_thread(render, target, files, into)
            await self._ask_to_load(target)
            self.book.load_seconds[target.model_name] = asyncio.get_running_loop().time() - start
        except BackendUnavailable as error:
            # Not only a matter of waiting: a model that is too large for its container ends it each time.
            self._fail(target.model_name, LoadFailed(TRITON_ENDED, str(error)))
        except (FastServeError, OSError) as error:
            self._fail(target.model_name, error)
        except Exception as error:  # as above: what a stranger's files can do to a parser has no end
            log.exception("loading failed")
            self._fail(target.model_name, error)
        finally:
            self._loading = None

    async def _ask_to_load(self, target: Target) -> None:
        """A candidate's load is bounded by its rollout; one that hangs is left to itself."""
        rollout = self.drive.rollout
        # By its name, since the table may have been read anew since then.
        named = rollout is not None and rollout.candidate.model_name == target.model_name
        seconds = rollout.deadline_seconds if rollout is not None and named else None
        try:
            async with asyncio.timeout(seconds):
                await self._parts.control.load(target.model_name)
        except TimeoutError as error:
            message = f"{target.model_name} was not loaded in {seconds} s"
            raise LoadFailed(LOAD_TIMEOUT, message) from error

    async def _prove(self, target: Target) -> None:
        """Ask the new version once."""
        book, snapshot, files = self.book, self._parts.snapshot(), found_files(target, self._parts.places)
        if snapshot is None or files is None:
            return
        # Read anew: the report that this step began with may be older than the load.
        report = await read_report(self.socket_of(target))
        try:
            config = self._parts.repository / target.model_name / CONFIG
            size = max_batch(await asyncio.to_thread(config.read_text, "utf-8"))
            version = await asyncio.to_thread(version_of, target, files)
            candidate = Candidate(target, snapshot.output, version, size, report)
            serving = await prove(self._parts.replica, candidate)
            await self._compare(target, serving)
            self._parts.replica.tallies.pop(target.model_name, None)
            book.note_proved(target, serving)
        except (FastServeError, OSError) as error:
            self._fail(target.model_name, error)
            return
        if book.is_about(target):
            self.report = report
        if target.model_name in book.load_seconds:
            self._parts.metrics.load.observe(book.load_seconds[target.model_name])

    async def _compare(self, target: Target, serving: Serving) -> None:
        """Raises GateRefused where the candidate does not answer as the stable version."""
        drive, member = self.drive, self.member
        stable = self.book.proved.get(drive.stable.model_name) if drive.stable else None
        if drive.rollout is None or drive.target is not target or stable is None or member is None:
            return
        examples = member.meaning.examples if float(drive.rollout.min_agreement) > 0 else ()
        agreement = await compare(self._parts.replica, stable, serving, examples)
        if agreement is not None:
            self.course.agreement[target.digest] = agreement
            check_agreement(agreement, drive.rollout.min_agreement)

    async def _unload(self, name: str) -> None:
        replica = self._parts.replica
        self.book.proved.pop(name, None)
        if replica.current is not None and replica.current.name == name:
            trial = replica.trial
            replica.switch(trial.serving if trial is not None and trial.serving.name != name else None)
        await self._parts.control.unload(name)
        self.book.dead_since = None

    def _fail(self, name: str, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self.book.target[0] != name:
            self.book.spare_failed(name, now)
            log.warning("the last version does not come back", extra={"model": name, "why": str(error)})
            return
        failure, rollout = self.book.fail(error, now), self.drive.rollout
        final = for_good(failure.reason, self.book.failures) or self.course.leaving == name
        if rollout is not None and rollout.candidate.model_name == name and final:
            self.course.give_up(rollout, failure, self.book.failures)
            self._parts.metrics.swaps("failed").inc()
        log.error("load failed", extra={"model": name, "reason": failure.reason, "why": str(error)})

    def _say(self, action: Action) -> None:
        self.because = action.because
        if action.because != self._logged:
            self._logged = action.because
            log.info(action.because, extra={"step": str(action.kind), "model": action.model})
