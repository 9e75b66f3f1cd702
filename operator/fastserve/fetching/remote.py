"""What every source is to the download: a listing of files, and their bytes from any offset."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, Protocol

from fastserve.errors import ArchiveRefused, SizeLimitExceeded

MAX_FILES = 20_000
"""Files of one model. The largest checkpoints have hundreds."""
RESERVED = ".fastserve-source.json"
"""The marker's name: no fetched file may have it, in no folder, since a lone folder becomes the top."""
MAX_NAME_BYTES = 255
"""Of a file's name: what file systems take."""

Unpack = Literal["", "archive", "layer"]
"""Whether a file is unpacked once it is there; a layer can also delete what lies below it."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to transfer. `size` is -1 and `sha256` empty where the source does not tell. `tag` changes
    when the bytes change; an empty one means that nobody can know, so that nothing is resumed. `key` is what
    the source calls the file."""

    path: str
    size: int
    tag: str
    key: str = ""
    sha256: str = ""
    unpack: Unpack = ""


@dataclass(frozen=True)
class Listing:
    """What there is to fetch. `digest` is the source's own digest (``sha256:<hex>``), where it has one;
    `single` says that the URI names one file and not a folder."""

    files: tuple[RemoteFile, ...]
    revision: str
    digest: str = ""
    single: bool = False

    @property
    def size(self) -> int:
        """Bytes to transfer, as far as they are known."""
        return sum(file.size for file in self.files if file.size > 0)


@dataclass(frozen=True)
class Body:
    """Bytes of a file from `start`: the offset that was asked for, or 0 where the source cannot do that."""

    start: int
    chunks: Iterator[bytes]


class BrokenOff(Exception):
    """A transfer ended early, or the source has no time: worth another try. Never leaves this room."""


class Remote(Protocol):
    """A source. `listing` and `read` raise FetchError, or BrokenOff where trying again may help."""

    def listing(self) -> Listing: ...

    def read(self, file: RemoteFile, offset: int) -> AbstractContextManager[Body]: ...

    def close(self) -> None: ...


def checked(listing: Listing, max_bytes: int) -> Listing:
    """The listing, where it may be fetched. Raises SizeLimitExceeded, or ArchiveRefused for its names."""
    if len(listing.files) > MAX_FILES:
        raise SizeLimitExceeded(
            f"the source has {len(listing.files)} files, the limit is {MAX_FILES}: point the URI at the"
            " model's own folder"
        )
    if listing.size > max_bytes:
        raise SizeLimitExceeded(
            f"the source has {listing.size} bytes, the limit is {max_bytes}: raise spec.model.sizeLimit"
        )
    paths = [safe_path(file.path) for file in listing.files if not file.unpack]
    if len(set(paths)) != len(paths):
        raise ArchiveRefused("the source lists one path twice")
    return listing


def safe_path(path: str) -> str:
    """`path` as one below a folder. Raises ArchiveRefused where it would lead out of it."""
    pure = PurePosixPath(path)
    bad = pure.is_absolute() or ".." in pure.parts or "\\" in path or "\x00" in path or not pure.parts
    if bad or not all(_is_name(part) for part in pure.parts):
        raise ArchiveRefused(f"the source has a file at {path[:200]!r}, which no model may have")
    return str(pure)


def _is_name(part: str) -> bool:
    try:
        return part != RESERVED and len(part.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # bytes that are no UTF-8: a marker cannot name them
        return False
