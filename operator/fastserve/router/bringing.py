"""How a version comes into Triton: fetched, rendered, loaded, proved; and what is noted where that fails."""

import asyncio
import logging

from fastserve.api.modelpool import Task
from fastserve.api.routes import Target
from fastserve.api.versions import LOAD_TIMEOUT, TRITON_ENDED
from fastserve.errors import BackendUnavailable, FastServeError, InvalidSpec
from fastserve.router.custom_model import CONFIG
from fastserve.router.engine_socket import read_report
from fastserve.router.fetch_child import FetchChild
from fastserve.router.known import Known
from fastserve.router.model_files import (
    files_of,
    found_files,
    version_of,
)
from fastserve.router.mounted_check import MountedCheck
from fastserve.router.proving import Candidate, prove
from fastserve.router.rendering import Rendering, render
from fastserve.router.table import max_batch
from fastserve.router.triton import LoadFailed
from fastserve.router.versions.comparing import check_agreement, compare
from fastserve.router.versions.driving import Drive
from fastserve.router.versions.trial import Serving

log = logging.getLogger(__name__)


class Bringing:
    """Brings versions; fetching, loading and proving go on beside the sidecar's loop."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def start_loading(self, target: Target) -> None:
        """Load beside the loop."""
        self._known.parts.replica.dead.discard(target.model_name)
        self._known.load = (target.model_name, asyncio.create_task(self._load(target)))

    def overtaken(self, before: Drive) -> None:
        """There is another target now; what is under way for the one `before` ends."""
        known = self._known
        if known.fetch is not None:
            known.fetch[1].cancel()
        self.stop_proving()
        if known.load is not None and before.rollout is not None:
            known.load[1].cancel()  # Triton goes on; what comes of it is unloaded

    async def close(self) -> None:
        known = self._known
        begun = [running[1] for running in (known.load, known.fetch) if running is not None]
        for task in (running := [*begun, *known.proofs.values()]):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def start_fetching(self, target: Target) -> None:
        """Fetch beside the loop, so that the old version is watched."""
        places = self._known.parts.places
        try:
            files = files_of(target, places)
        except InvalidSpec as error:
            self._fail(target.model_name, error)
            return
        child = FetchChild(target, files, places) if files.key else MountedCheck(target, files)
        self._known.fetch = (child, asyncio.create_task(self._fetch(child)))

    async def _fetch(self, child: FetchChild | MountedCheck) -> None:
        book = self._known.book
        try:
            await child.run()
            book.failures, book.failure, book.checked = 0, None, child.model_name
        except (FastServeError, OSError) as error:
            book.failed_bytes = max(book.failed_bytes, child.bytes_done)
            self._fail(child.model_name, error)
        except Exception as error:  # tried again at once it would only happen again, for ever
            log.exception("fetching failed")
            self._fail(child.model_name, error)
        finally:
            self._known.fetch = None

    async def _load(self, target: Target) -> None:
        """Render and load; runs beside the loop, so that progress and the old version are watched."""
        known, book = self._known, self._known.book
        start = asyncio.get_running_loop().time()
        try:
            snapshot, parts = known.parts.snapshot(), known.parts
            task = snapshot.table.task if snapshot else Task.TEXT_CLASSIFICATION
            into = Rendering(parts.repository / target.model_name, known.socket_of(target), task)
            files = files_of(target, parts.places)
            book.keys[target.model_name] = files.key
            checked, book.checked = book.checked == target.model_name, ""
            if not checked:
                await MountedCheck(target, files).run()
            await asyncio.to_thread(render, target, files, into)
            await self._ask_to_load(target)
            book.load_seconds[target.model_name] = asyncio.get_running_loop().time() - start
        except BackendUnavailable as error:
            # Not only a matter of waiting: a model that is too large for its container ends it each time.
            self._fail(target.model_name, LoadFailed(TRITON_ENDED, str(error)))
        except (FastServeError, OSError) as error:
            self._fail(target.model_name, error)
        except Exception as error:  # as above: what a stranger's files can do to a parser has no end
            log.exception("loading failed")
            self._fail(target.model_name, error)
        finally:
            self._known.load = None

    async def _ask_to_load(self, target: Target) -> None:
        """A candidate's load is bounded by its rollout; one that hangs is left to itself."""
        rollout = self._known.drive.rollout
        # By its name, since the table may have been read anew since then.
        named = rollout is not None and rollout.candidate.model_name == target.model_name
        seconds = rollout.deadline_seconds if rollout is not None and named else None
        try:
            async with asyncio.timeout(seconds):
                await self._known.parts.control.load(target.model_name)
        except TimeoutError as error:
            message = f"{target.model_name} was not loaded in {seconds} s"
            raise LoadFailed(LOAD_TIMEOUT, message) from error

    def start_proving(self, target: Target) -> None:
        """Ask beside the loop, so that what serves is looked after however long the new version takes."""
        self._known.proofs[target.model_name] = asyncio.create_task(self._prove(target))

    def stop_proving(self) -> None:
        """Ask no more: of two that are compared one is unloaded, or another one is wanted now."""
        for task in self._known.proofs.values():
            task.cancel()
        self._known.proofs.clear()

    async def _prove(self, target: Target) -> None:
        proofs, name = self._known.proofs, target.model_name
        try:
            await self._ask(target)
        except (FastServeError, OSError) as error:
            self._fail(name, error)
        except Exception as error:  # as above
            log.exception("proving failed")
            self._fail(name, error)
        finally:
            if proofs.get(name) is asyncio.current_task():
                del proofs[name]
                self._known.parts.replica.doubt()  # who looks after it goes on at once

    async def _ask(self, target: Target) -> None:
        """Ask the new version once, and where it is a candidate the examples too."""
        book, parts = self._known.book, self._known.parts
        snapshot, files = parts.snapshot(), found_files(target, parts.places)
        if snapshot is None or files is None:
            return
        # Read anew: the report that this step began with may be older than the load.
        report = await read_report(self._known.socket_of(target))
        config = parts.repository / target.model_name / CONFIG
        size = max_batch(await asyncio.to_thread(config.read_text, "utf-8"))
        version = await asyncio.to_thread(version_of, target, files)
        serving = await prove(parts.replica, Candidate(target, snapshot.output, version, size, report))
        await self._compare(target, serving)
        parts.replica.tallies.loaded(target.model_name)
        book.note_proved(target, serving)
        if book.is_about(target):
            self._known.report = report
        if target.model_name in book.load_seconds:
            parts.metrics.load.observe(book.load_seconds[target.model_name])

    async def _compare(self, target: Target, serving: Serving) -> None:
        """Raises GateRefused where the candidate does not answer as the stable version."""
        drive, member = self._known.drive, self._known.member
        stable = self._known.book.proved.get(drive.stable.model_name) if drive.stable else None
        # By its name, since the table may have been read anew since then.
        named = drive.target is not None and drive.target.model_name == target.model_name
        if drive.rollout is None or not named or stable is None or member is None:
            return
        examples = member.meaning.examples if float(drive.rollout.min_agreement) > 0 else ()
        agreement = await compare(self._known.parts.replica, stable, serving, examples)
        if agreement is not None:
            self._known.course.agreement[target.digest] = agreement
            check_agreement(agreement, drive.rollout.min_agreement)

    def _fail(self, name: str, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self._known.book.target[0] != name:
            self._known.book.spare_failed(name, now)
            log.warning("the last version does not come back", extra={"model": name, "why": str(error)})
            return
        failure, rollout = self._known.book.fail(error, now), self._known.drive.rollout
        final = self._known.course.is_over(name, failure.reason, self._known.book.failures)
        if rollout is not None and rollout.candidate.model_name == name and final:
            self._known.course.give_up(rollout, failure, self._known.book.failures)
            self._known.parts.metrics.swaps("failed").inc()
        log.error("load failed", extra={"model": name, "reason": failure.reason, "why": str(error)})
