"""Fetching as a child process: what it does cannot hold up requests, and the credentials' readers and the
archives' parsers end with it."""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Final, Literal

import msgspec

from fastserve.api.routes import Target
from fastserve.errors import FetchError
from fastserve.foreign_json import ForeignReader, Unreadable
from fastserve.router.model_files import ModelFiles, ModelPlaces

DEFAULT_MAX_BYTES = 100 << 30
"""Where the table names no limit; SubModels have one by default."""
log = logging.getLogger(__name__)


class FetchFailed(FetchError):
    """`reason` and the text are the fetching process's own."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class _Order(msgspec.Struct, frozen=True, rename="camel"):
    """The request document of ``python -m fastserve.fetching``."""

    uri: str
    destination: str
    max_bytes: int
    credentials: str | None
    digest: str


class _Line(msgspec.Struct, frozen=True, rename="camel"):
    """A line of its answer: how far it is, or why it failed."""

    phase: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    reason: str = ""
    message: str = ""


_lines = ForeignReader(_Line)


class FetchChild:
    """One run of the fetching process. `bytes_done` and `bytes_total` are 0 until it tells and never go back;
    what an archive unpacks to, whose size nobody knows beforehand, is counted on top of the archive."""

    phase: Final[Literal["Fetching"]] = "Fetching"

    def __init__(self, target: Target, files: ModelFiles, places: ModelPlaces) -> None:
        self.model_name = target.model_name
        self.bytes_done = 0
        self.bytes_total = 0
        self._fetched: int | None = None
        self._last = _Line()
        self._order = _Order(
            target.storage_uri,
            str(files.folder),
            target.max_bytes or DEFAULT_MAX_BYTES,
            str(places.credentials) if places.credentials is not None else None,
            target.expected_digest,
        )

    async def run(self) -> None:
        """Return when the folder is whole. Raises FetchFailed. Cancelled, it takes the process with it."""
        command = (sys.executable, "-m", "fastserve.fetching")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        try:
            _hand_over(process, msgspec.json.encode(self._order))
            await self._follow(process)
            code = await process.wait()
        except ValueError as error:
            raise FetchFailed("FetchFailed", "the fetching process wrote a line without an end") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        if code != 0:
            last = self._last
            message = last.message or f"the fetching process ended with {code}"
            raise FetchFailed(last.reason or "FetchFailed", message)
        log.info("model fetched", extra={"model": self.model_name, "bytes": self.bytes_done})

    async def _follow(self, process: Process) -> None:
        if process.stdout is None:
            return
        async for text in process.stdout:
            self._take(text)

    def _take(self, text: bytes) -> None:
        try:
            line = self._last = _lines.read(text)
        except Unreadable:
            log.warning("the fetching process said what is no line of progress")
            return
        if not line.reason:
            self._count(line)

    def _count(self, line: _Line) -> None:
        if line.phase == "Unpacking":
            fetched = self._fetched = self._fetched if self._fetched is not None else self.bytes_done
            self.bytes_done = fetched + line.bytes_done
            self.bytes_total = max(self.bytes_total, self.bytes_done)
        elif line.phase == "Fetched":
            self.bytes_done = max(self.bytes_done, line.bytes_done)
            self.bytes_total = max(self.bytes_total, self.bytes_done)
        else:
            self.bytes_done, self.bytes_total = line.bytes_done, line.bytes_total


def _hand_over(process: Process, document: bytes) -> None:
    """By a pipe: Triton, whose code may be anybody's, can change files of this uid."""
    if process.stdin is not None:
        process.stdin.write(document)
        process.stdin.close()
