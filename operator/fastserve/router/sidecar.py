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
from fastserve.errors import BackendError, BackendUnavailable, FastServeError, InvalidSpec
from fastserve.router import loading
from fastserve.router.bookkeeping import Bookkeeping, Phase
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
from fastserve.router.rendering import Rendering, render
from fastserve.router.repository import models_in, remove_model
from fastserve.router.serving import OwnReplica
from fastserve.router.table import TableSnapshot, max_batch
from fastserve.router.triton import LoadFailed, TritonControl

REST_SECONDS = 1.0
BUSY_SECONDS = 0.25
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SidecarParts:
    """What a sidecar works with."""

    member: str
    repository: Path
    places: ModelPlaces
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
        target = self.member.target if self.member else None
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
        return self._parts.places.run / loading.socket_name(target)

    async def _step(self) -> Action:
        member = self.member
        target = member.target if member else None
        if self.book.take_target(target) and self._fetching is not None:
            self._fetching[1].cancel()
        seen = await self._look(target)
        action = loading.next_action(seen)
        version = self.book.version(action.model, target)
        if version is not None and action.kind in (Kind.FETCH, Kind.CHECK):
            self._start_fetching(version)
        elif version is not None and action.kind is Kind.LOAD:
            if loading.READY not in seen.index.values():
                self._parts.on_restart()
            self._loading = (version.model_name, asyncio.create_task(self._load(version)))
        elif version is not None and action.kind is Kind.PROVE:
            await self._prove(version)
        elif action.kind is Kind.SWITCH:
            self._parts.replica.switch(self.book.proved[action.model])
        elif action.kind is Kind.UNLOAD:
            await self._unload(action.model)
        else:
            await asyncio.to_thread(self._tidy, action)
        return action

    def _tidy(self, action: Action) -> None:
        models = self._parts.places.models
        if action.kind is Kind.REMOVE:
            remove_model(self._parts.repository, action.model)
        elif action.kind is Kind.DISCARD and models is not None:
            discard(models, action.model)

    async def _look(self, target: Target | None) -> Seen:
        """Read everything that the next step depends on; forget what is no longer so."""
        parts, book = self._parts, self.book
        self.live = await parts.control.live()
        book.note_live(live=self.live)
        index = await parts.control.index() if self.live else {}
        self._forget(index)
        self.report = None
        if target is not None:
            await self._look_at_engine(target, index)
        now = asyncio.get_running_loop().time()
        serving = parts.replica.current
        files = found_files(target, parts.places)
        left = leftovers(parts.places.models, files.key if files else "")
        spare = book.spare_beside(target, parts.places)
        held = {name for name, state in index.items() if state == loading.READY or state in loading.GOING}
        held |= {spare.target.model_name} if spare else set()
        return Seen(
            now=now,
            live=self.live,
            target=target.model_name if target else None,
            index=index,
            serving=serving.name if serving else None,
            loading=self.loading,
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
        )

    def _forget(self, index: dict[str, str]) -> None:
        """Only what Triton shows as READY counts as loaded: it may have died and come back empty."""
        replica = self._parts.replica
        for name in [one for one in self.book.proved if index.get(one) != loading.READY]:
            del self.book.proved[name]
        if replica.current is not None and replica.current.name not in self.book.proved:
            log.warning("model lost", extra={"model": replica.current.name})
            replica.switch(None)

    async def _look_at_engine(self, target: Target, index: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        begun, path = loop.time(), self.socket_of(target)
        report = self.report = await read_report(path)
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
            await self._parts.control.load(target.model_name)
            self.book.load_seconds[target.model_name] = asyncio.get_running_loop().time() - start
        except BackendUnavailable as error:
            # Not only a matter of waiting: a model that is too large for its container ends it each time.
            self._fail(target.model_name, LoadFailed("TritonEnded", str(error)))
        except (FastServeError, OSError) as error:
            self._fail(target.model_name, error)
        except Exception as error:  # as above: what a stranger's files can do to a parser has no end
            log.exception("loading failed")
            self._fail(target.model_name, error)
        finally:
            self._loading = None

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
            book.note_proved(target, await prove(self._parts.replica, candidate))
        except (BackendError, InvalidSpec, OSError) as error:
            self._fail(target.model_name, error)
            return
        if book.is_about(target):
            self.report = report
        if target.model_name in book.load_seconds:
            self._parts.metrics.load.observe(book.load_seconds[target.model_name])

    async def _unload(self, name: str) -> None:
        self.book.proved.pop(name, None)
        if self._parts.replica.current is not None and self._parts.replica.current.name == name:
            self._parts.replica.switch(None)
        await self._parts.control.unload(name)
        self.book.dead_since = None

    def _fail(self, name: str, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self.book.target[0] != name:
            self.book.spare_failed(name, now)
            log.warning("the last version does not come back", extra={"model": name, "why": str(error)})
            return
        failure = self.book.fail(error, now)
        log.error("load failed", extra={"model": name, "reason": failure.reason, "why": str(error)})

    def _say(self, action: Action) -> None:
        self.because = action.because
        if action.because != self._logged:
            self._logged = action.because
            log.info(action.because, extra={"step": str(action.kind), "model": action.model})
