"""The loop that keeps this router's Triton at the version that the route table names.

Read what is → ask loading.next_action → do that one step; again at once while something is under way.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fastserve.api.engine import EngineReport
from fastserve.api.meta import Failure
from fastserve.api.modelpool import Task
from fastserve.api.routes import Member, Target
from fastserve.api.uris import path_of
from fastserve.errors import BackendError, BackendUnavailable, FastServeError
from fastserve.router import loading
from fastserve.router.engine_socket import read_report
from fastserve.router.health import Event
from fastserve.router.loading import Action, Kind, Seen
from fastserve.router.metrics import Metrics
from fastserve.router.repository import models_in, remove_model, write_model
from fastserve.router.serving import OwnReplica, Serving
from fastserve.router.table import TableSnapshot, max_batch
from fastserve.router.triton import TritonControl

REST_SECONDS = 1.0
BUSY_SECONDS = 0.25
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SidecarParts:
    """What a sidecar works with."""

    member: str
    repository: Path
    run: Path
    control: TritonControl
    replica: OwnReplica
    metrics: Metrics
    snapshot: Callable[[], TableSnapshot | None]


@dataclass
class Bookkeeping:
    """What Triton cannot tell: which version failed how often, and which answered since its load."""

    target: str = ""
    failures: int = 0
    retry_at: float = 0.0
    failure: Failure | None = None
    proved: dict[str, Serving] = field(default_factory=dict)
    load_seconds: dict[str, float] = field(default_factory=dict)
    dead_since: float | None = None
    restarts: dict[str, int] = field(default_factory=dict)


class Sidecar:
    """Drives one Triton. `live`, `because`, `report` and `book` are read by the state."""

    def __init__(self, parts: SidecarParts) -> None:
        self._parts = parts
        self._loading: tuple[str, asyncio.Task[None]] | None = None
        self._logged = ""
        self.book = Bookkeeping()
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
        """The last failure to load, or else the engine's own last error."""
        report = self.report
        if self.book.failure is not None or report is None or not report.last_error_reason:
            return self.book.failure
        time = _rfc3339(datetime.fromtimestamp(report.last_error_time, UTC))
        return Failure(reason=report.last_error_reason, message=report.last_error_message[:4096], time=time)

    async def run(self) -> None:
        """Step after step, for ever."""
        while True:
            try:
                action = await self._step()
            except BackendUnavailable as error:
                action = Action(Kind.WAIT, because=str(error))
            self._say(action)
            resting = action.kind is Kind.REST and self._parts.replica.health.health == "Healthy"
            if action.kind in (Kind.REST, Kind.WAIT):
                await asyncio.sleep(REST_SECONDS if resting else BUSY_SECONDS)

    async def close(self) -> None:
        if self._loading is not None:
            self._loading[1].cancel()
        await self._parts.control.close()

    def socket_of(self, target: Target) -> Path:
        return self._parts.run / loading.socket_name(target)

    async def _step(self) -> Action:
        member = self.member
        target = member.target if member else None
        self._take_target(target)
        seen = await self._look(target)
        action = loading.next_action(seen)
        if action.kind is Kind.LOAD and target is not None:
            self._loading = (target.model_name, asyncio.create_task(self._load(target)))
        elif action.kind is Kind.PROVE and member is not None:
            await self._prove(member)
        elif action.kind is Kind.SWITCH:
            self._parts.replica.switch(self.book.proved[action.model])
        elif action.kind is Kind.UNLOAD:
            await self._unload(action.model)
        elif action.kind is Kind.REMOVE:
            await asyncio.to_thread(remove_model, self._parts.repository, action.model)
        return action

    def _take_target(self, target: Target | None) -> None:
        """A new target starts with a clean slate."""
        name = target.model_name if target else ""
        book = self.book
        if name != book.target:
            book.target, book.failures, book.retry_at, book.failure = name, 0, 0.0, None
            book.dead_since = None

    async def _look(self, target: Target | None) -> Seen:
        """Read everything that the next step depends on; forget what is no longer so."""
        parts = self._parts
        self.live = await parts.control.live()
        index = await parts.control.index() if self.live else {}
        self._forget(index)
        self.report = await read_report(self.socket_of(target)) if target else None
        now = asyncio.get_running_loop().time()
        self._watch_engine(target, index, now)
        serving = parts.replica.current
        return Seen(
            now=now,
            live=self.live,
            target=target.model_name if target else None,
            index=index,
            serving=serving.name if serving else None,
            loading=self.loading,
            proved=frozenset(self.book.proved),
            rendered=models_in(parts.repository),
            in_flight=parts.replica.by_version,
            retry_at=self.book.retry_at,
            dead_since=self.book.dead_since,
        )

    def _forget(self, index: dict[str, str]) -> None:
        """Only what Triton shows as READY counts as loaded: it may have died and come back empty."""
        replica = self._parts.replica
        for name in [one for one in self.book.proved if index.get(one) != loading.READY]:
            del self.book.proved[name]
        if replica.current is not None and replica.current.name not in self.book.proved:
            log.warning("model lost", extra={"model": replica.current.name})
            replica.switch(None)

    def _watch_engine(self, target: Target | None, index: dict[str, str], now: float) -> None:
        """Notice restarts of the ranks, and an engine that is gone while Triton calls its model READY."""
        book, replica = self.book, self._parts.replica
        if target is None:
            return
        name = target.model_name
        failing = name not in book.proved or not replica.ready
        silent = self.report is None and index.get(name) == loading.READY and failing
        book.dead_since = (book.dead_since or now) if silent and self._loading is None else None
        if self.report is None:
            return
        before = book.restarts.get(name, 0)
        book.restarts[name] = self.report.restarts
        if self.report.restarts > before:
            self._parts.metrics.restarts.inc(self.report.restarts - before)
            if replica.current is not None and replica.current.name == name:
                replica.note(Event.UNREACHABLE)

    async def _load(self, target: Target) -> None:
        """Render and load; runs beside the loop, so that progress and the old version are watched."""
        start = asyncio.get_running_loop().time()
        try:
            snapshot = self._parts.snapshot()
            task = snapshot.table.task if snapshot else Task.TEXT_CLASSIFICATION
            checkpoint = str(path_of(target.storage_uri))
            files = loading.model_files(target, task, checkpoint, str(self.socket_of(target)))
            write_model(self._parts.repository / target.model_name, files)
            await self._parts.control.load(target.model_name)
            self.book.load_seconds[target.model_name] = asyncio.get_running_loop().time() - start
        except BackendUnavailable as error:
            log.warning("load interrupted", extra={"model": target.model_name, "why": str(error)})
        except (FastServeError, OSError) as error:
            self._fail(target.model_name, error)
        finally:
            self._loading = None

    async def _prove(self, member: Member) -> None:
        """Ask the new version once; what it answers must fit what its engine says of itself."""
        target, book = member.target, self.book
        snapshot = self._parts.snapshot()
        # Read anew: the report that this step began with may be older than the load.
        report = self.report = await read_report(self.socket_of(target))
        try:
            if report is None or report.width == 0 or snapshot is None:
                raise BackendError("the engine does not report its labels")
            serving = Serving(
                target.model_name,
                target.digest,
                target.version,
                snapshot.output,
                report.labels,
                report.width,
                max_batch(member),
            )
            scores = await self._parts.replica.prove(serving)
            if scores.shape[1] != report.width:
                raise BackendError(f"{scores.shape[1]} scores came, the engine reports {report.width}")
        except BackendError as error:
            self._fail(target.model_name, error)
            return
        book.proved[target.model_name] = serving
        book.failures, book.failure = 0, None
        if target.model_name in book.load_seconds:
            self._parts.metrics.load.observe(book.load_seconds[target.model_name])

    async def _unload(self, name: str) -> None:
        self.book.proved.pop(name, None)
        if self._parts.replica.current is not None and self._parts.replica.current.name == name:
            self._parts.replica.switch(None)
        await self._parts.control.unload(name)
        self.book.dead_since = None

    def _fail(self, name: str, error: Exception) -> None:
        book = self.book
        book.failures += 1
        book.retry_at = asyncio.get_running_loop().time() + loading.backoff(book.failures)
        reason = error.reason if isinstance(error, FastServeError) else "LoadFailed"
        now = _rfc3339(datetime.now(UTC))
        book.failure = Failure(reason=reason, message=str(error)[:4096], time=now)
        log.error("load failed", extra={"model": name, "reason": reason, "why": str(error)})

    def _say(self, action: Action) -> None:
        self.because = action.because
        if action.because != self._logged:
            self._logged = action.because
            log.info(action.because, extra={"step": str(action.kind), "model": action.model})


def _rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
