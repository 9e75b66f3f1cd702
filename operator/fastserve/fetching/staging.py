"""Where a fetch works, ``<destination>.partial``, and how its result appears whole or not at all."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fastserve.errors import AlreadyFetching, DestinationOccupied, DiskFull
from fastserve.fetching.marker import Marker, is_whole, read_marker, write_marker
from fastserve.fetching.parts import part_path
from fastserve.fetching.remote import RemoteFile
from fastserve.fetching.request import FetchRequest

LOCK_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.1


class Wanted(msgspec.Struct, frozen=True):
    """What the parts are parts of."""

    uri: str
    digest: str


@dataclass(frozen=True)
class Staging:
    """`parts` holds files on their way; `files` becomes the destination."""

    destination: Path

    @property
    def partial(self) -> Path:
        return self.destination.with_name(f"{self.destination.name}.partial")

    @property
    def parts(self) -> Path:
        return self.partial / "parts"

    @property
    def files(self) -> Path:
        return self.partial / "files"

    def finished(self, request: FetchRequest) -> Marker | None:
        """The marker of a destination that is whole and what is asked for. Raises DestinationOccupied where
        something lies there that no fetch brought: it is not ours to replace."""
        if not self.destination.exists():
            return None
        marker = read_marker(self.destination)
        if marker is None and any(self.destination.iterdir()):
            raise DestinationOccupied(f"{self.destination} holds files that were not fetched: empty it")
        if marker is None or marker.uri != request.uri or request.digest not in {"", marker.digest}:
            return None
        return marker if is_whole(self.destination, marker) else None

    def prepare(self, request: FetchRequest) -> None:
        """Keep the parts of the same request, throw away those of any other."""
        wanted = msgspec.json.encode(Wanted(request.uri, request.digest))
        note = self.partial / "wanted.json"
        if not note.exists() or note.read_bytes() != wanted:
            shutil.rmtree(self.parts, ignore_errors=True)
        for path in self.partial.iterdir():  # what a kill left behind while files were put in their places
            if path.is_dir() and path != self.parts:
                shutil.rmtree(path, ignore_errors=True)
        self.parts.mkdir(exist_ok=True)
        note.write_bytes(wanted)
        self.files.mkdir()

    def check_room(self, count: int) -> None:
        """Raises DiskFull where `count` bytes more do not fit."""
        free = shutil.disk_usage(self.partial).free
        if count > free:
            raise DiskFull(f"{count} bytes are needed and {free} are free: give the volume more room")

    def size_of_parts(self) -> int:
        """Bytes that earlier calls brought."""
        return sum(path.stat().st_size for path in self.parts.iterdir())

    def part_of(self, file: RemoteFile) -> Path:
        """Where the transferred bytes of a file lie."""
        return part_path(self.parts, file)

    def publish(self, marker: Marker) -> None:
        """Bring everything to the disk and make it the destination in one step."""
        write_marker(self.files, marker)
        for folder, _, _ in os.walk(self.files):
            _sync(Path(folder))
        if self.destination.exists():
            # Moved, not removed: half of it under this name would pass for the whole after a kill.
            self.destination.replace(self.partial / "replaced")
        self.files.replace(self.destination)
        _sync(self.destination.parent)
        self.drop()

    def drop(self) -> None:
        """Throw everything away that is not the destination."""
        shutil.rmtree(self.partial, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who fetches to here. Raises AlreadyFetching after ten seconds: a process whose
        parent died goes with its next progress line."""
        deadline = time.monotonic() + LOCK_SECONDS
        while (handle := self._try_lock()) is None:
            if time.monotonic() > deadline:
                raise AlreadyFetching(f"another process fetches to {self.destination}: wait for it")
            time.sleep(LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            os.close(handle)

    def _try_lock(self) -> int | None:
        self.partial.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.partial, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.partial.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except OSError:  # held by another, or published and removed meanwhile
            pass
        os.close(handle)
        return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
