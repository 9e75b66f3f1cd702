"""Transfers the files of a listing: several at once, each tried again with back-off, each resumed."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random
from tenacity.nap import sleep_using_event

from fastserve.errors import SizeLimitExceeded, SourceChanged, SourceUnavailable
from fastserve.fetching.marker import StoredFile
from fastserve.fetching.parts import Part
from fastserve.fetching.progress import Meter
from fastserve.fetching.remote import BrokenOff, Listing, Remote, RemoteFile

AT_ONCE = 4
MOST_TRIES = 100
"""Tries of one file, however much each of them brings."""
FIRST_WORD_TRIES, FIRST_WORD_SECONDS = 3, 4.0
"""Until a source has said a word nothing is lost by giving up: the reason is told at once, and who asked for
the model tries again."""


@dataclass(frozen=True)
class Patience:
    """How long a source is asked that does not answer: `tries` that bring nothing end it, and none begins
    after so many `seconds`."""

    tries: int = 6
    first_seconds: float = 0.5
    longest_seconds: float = 15.0
    seconds: float = math.inf

    @property
    def for_the_first_word(self) -> "Patience":
        return replace(self, tries=min(self.tries, FIRST_WORD_TRIES), seconds=FIRST_WORD_SECONDS)

    def retrying(self, came: Callable[[], int], stop: threading.Event) -> Retrying:
        """Tries for as long as `came()` grows, with growing pauses that `stop` cuts short."""
        most, barren = 0, 0

        def gave_up(state: RetryCallState) -> bool:
            nonlocal most, barren
            barren = 0 if came() > most else barren + 1
            most = max(most, came())
            late = (state.seconds_since_start or 0.0) >= self.seconds
            return barren >= self.tries or late or state.attempt_number >= MOST_TRIES or stop.is_set()

        return Retrying(
            stop=gave_up,
            wait=wait_exponential(self.first_seconds, self.longest_seconds)
            + wait_random(0, self.first_seconds),
            retry=retry_if_exception_type(BrokenOff),
            sleep=sleep_using_event(stop),
            reraise=True,
        )


class Cancelled(Exception):
    """Another file failed; this one's transfer has no use any more."""


@dataclass(frozen=True)
class Download:
    """What a transfer works with. `max_bytes` bounds the sum over all files."""

    remote: Remote
    parts: Path
    meter: Meter
    max_bytes: int
    patience: Patience

    def listing(self) -> Listing:
        """Ask the source what there is."""
        patience = self.patience.for_the_first_word
        try:
            return patience.retrying(lambda: 0, threading.Event())(self.remote.listing)
        except BrokenOff as error:
            raise _unavailable(error) from error

    def all(self, files: tuple[RemoteFile, ...]) -> dict[RemoteFile, StoredFile]:
        """Bring every file. The first that fails for good ends the others; its FetchError is raised."""
        stop = threading.Event()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tasks = {pool.submit(self._bring, file, stop): file for file in files}
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            faults = [error for task in done if (error := task.exception()) is not None]
            if faults:
                stop.set()
                raise next((error for error in faults if not isinstance(error, Cancelled)), faults[0])
        return {file: task.result() for task, file in tasks.items()}

    def _bring(self, file: RemoteFile, stop: threading.Event) -> StoredFile:
        if stop.is_set():
            raise Cancelled
        part = Part(self.parts, file)
        self.meter.add(part.size)
        if (stored := part.stored()) is not None:
            return stored
        try:
            return self.patience.retrying(lambda: part.size, stop)(self._try, part, stop)
        except BrokenOff as error:
            raise _unavailable(error) from error

    def _try(self, part: Part, stop: threading.Event) -> StoredFile:
        file, offset = part.file, part.size
        if file.size < 0 or offset != file.size:
            # What nobody can tell apart from other bytes is never gone on with.
            with self.remote.read(file, offset if file.tag else 0) as body, part.writing_from(body.start):
                self.meter.add(body.start - offset)
                for chunk in body.chunks:
                    if stop.is_set():
                        raise Cancelled
                    part.write(chunk)
                    self._count(len(chunk))
        if file.size >= 0 and part.size < file.size:
            raise BrokenOff(f"{part.size} of {file.size} bytes came")
        if 0 <= file.size < part.size:
            raise SourceChanged(f"{file.path} is longer than the source said: start again")
        return part.finish()

    def _count(self, count: int) -> None:
        self.meter.add(count)
        if self.meter.done > self.max_bytes:
            raise SizeLimitExceeded(
                f"more than {self.max_bytes} bytes came, which is the limit: raise spec.model.sizeLimit"
            )


def _unavailable(error: BrokenOff) -> SourceUnavailable:
    return SourceUnavailable(
        f"the source does not answer or breaks off ({error}): check its address, and the network policies"
        " between this pod and it"
    )
