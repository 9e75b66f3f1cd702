"""One file on its way: the bytes that are here, and how they may be gone on with."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fastserve.errors import DigestMismatch
from fastserve.fetching.marker import StoredFile
from fastserve.fetching.remote import RemoteFile
from fastserve.foreign_json import ForeignReader, Unreadable

READ_BYTES = 1 << 20


class Record(msgspec.Struct, frozen=True):
    """What a part is a part of; `sha256` is set once it is whole and on the disk."""

    path: str
    tag: str
    size: int
    sha256: str = ""


_RECORD = ForeignReader(Record)


def part_path(folder: Path, file: RemoteFile) -> Path:
    """Where the bytes of a file are gathered. Not under its own name: parts need no folders."""
    return folder / hashlib.sha256(file.path.encode()).hexdigest()[:24]


class Part:
    """The part of one file; a leftover of another state of the source is thrown away."""

    def __init__(self, folder: Path, file: RemoteFile) -> None:
        self.path = part_path(folder, file)
        self.file = file
        self._record = self.path.with_suffix(".json")
        self._hash = hashlib.sha256()
        self._hashed = 0
        found = self._read_record()
        self._whole = found.sha256 if found is not None else ""
        if found is None or not file.tag or (found.tag, found.size) != (file.tag, file.size):
            self._begin()

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size

    def stored(self) -> StoredFile | None:
        """The file, where an earlier run brought it whole."""
        return StoredFile(self.size, self._whole) if self._whole else None

    @contextmanager
    def writing_from(self, start: int) -> Iterator["Part"]:
        """Throw away what lies behind `start`, and take more."""
        with self.path.open("r+b", buffering=0) as self._file:
            self._file.truncate(start)
            if self._hashed != start:
                self._hash_again(start)
            self._file.seek(start)
            yield self

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:  # an unbuffered file may take less than it is given
            view = view[self._file.write(view) :]
        self._hash.update(chunk)
        self._hashed += len(chunk)

    def finish(self) -> StoredFile:
        """Check the digest and bring the file to the disk. Raises DigestMismatch."""
        if self._hashed != self.size:
            self._hash_again(self.size)
        digest = self._hash.hexdigest()
        if self.file.sha256 not in {"", digest}:
            raise DigestMismatch(
                f"{self.file.path} has sha256:{digest}, promised was sha256:{self.file.sha256}: correct"
                " spec.model.digest, or put the right file at the source"
            )
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self._write_record(digest)
        return StoredFile(self.size, digest)

    def _begin(self) -> None:
        self._whole = ""
        self.path.write_bytes(b"")
        self._write_record("")

    def _hash_again(self, size: int) -> None:
        self._hash, self._hashed = hashlib.sha256(), size
        with self.path.open("rb") as file:
            while chunk := file.read(min(READ_BYTES, size - file.tell())):
                self._hash.update(chunk)

    def _read_record(self) -> Record | None:
        try:
            found = _RECORD.read(self._record.read_bytes())
        except (OSError, Unreadable):
            return None
        return found if self.path.exists() else None

    def _write_record(self, sha256: str) -> None:
        record = Record(self.file.path, self.file.tag, self.file.size, sha256)
        self._record.write_bytes(msgspec.json.encode(record))
