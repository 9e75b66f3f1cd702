"""The marker of a finished folder: what lies there, and where it came from."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fastserve.fetching.remote import RESERVED
from fastserve.foreign_json import ForeignReader, Unreadable


class StoredFile(msgspec.Struct, frozen=True):
    """A file's size in bytes and its sha256 in hex."""

    size: int
    sha256: str


class Marker(msgspec.Struct, frozen=True, rename="camel"):
    """`files` maps paths below the folder; `digest` is what a request can name to get exactly this again."""

    uri: str
    revision: str
    digest: str
    files: dict[str, StoredFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


_MARKER = ForeignReader(Marker)


def listing_digest(files: Mapping[str, StoredFile]) -> str:
    """The digest of a folder: sha256 over one line ``<sha256>  <path>`` per file, sorted by path."""
    lines = "".join(f"{files[path].sha256}  {path}\n" for path in sorted(files))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def write_marker(folder: Path, marker: Marker) -> None:
    """Write the marker and bring it to the disk."""
    with (folder / RESERVED).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(marker), indent=1))
        file.flush()
        os.fsync(file.fileno())


def read_marker(folder: Path) -> Marker | None:
    """The marker of a folder; None where there is none that can be read."""
    try:
        return _MARKER.read((folder / RESERVED).read_bytes())
    except (OSError, Unreadable):
        return None


def is_whole(folder: Path, marker: Marker) -> bool:
    """Whether every file of the marker lies there with its size."""
    try:
        return all((folder / path).stat().st_size == file.size for path, file in marker.files.items())
    except OSError:
        return False
