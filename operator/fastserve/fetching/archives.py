"""Unpacks what strangers packed: nothing outside the folder, no links in the result, bounded in count and
bytes.

A link inside the archive becomes a second name of its file once all files are written, so that nothing is
ever written through a link; a link that leads elsewhere is refused.
"""

import hashlib
import io
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NoReturn, Protocol

from backports.zstd import ZstdError, ZstdFile

from fastserve.errors import ArchiveRefused, SizeLimitExceeded
from fastserve.fetching.marker import StoredFile
from fastserve.fetching.progress import Meter
from fastserve.fetching.remote import MAX_FILES, Unpack, safe_path

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip")
READ_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_HEADERS_BYTES = 32 << 20
"""Of all long headers of one tar together; the library keeps what the global ones say."""
MAX_DIRECTORY_BYTES = 8 << 20
"""Of a zip's directory, which the library reads whole before it says how many entries there are."""
MAX_LINKS_IN_A_ROW = 16
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK"
_LONG_HEADERS = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K"}
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    ZstdError,
    EOFError,
    NotImplementedError,  # zipfile: a compression it does not know
    RuntimeError,  # zipfile: encrypted
    ValueError,  # both: numbers and names that are none
    struct.error,
)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class SmallHeaders(tarfile.TarInfo):
    """tarfile reads a long header, or the map of a sparse file, into memory whole, however long it is."""

    def _proc_member(self, archive: "BoundedTar") -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS:
            archive.header_bytes += self.size
            if self.size > MAX_HEADER_BYTES or archive.header_bytes > MAX_HEADERS_BYTES:
                raise tarfile.ReadError("its headers are too long")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise tarfile.ReadError("it has sparse files: pack it without --sparse")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


class BoundedTar(tarfile.TarFile):
    """`header_bytes` is what its long headers had so far."""

    tarinfo = SmallHeaders
    header_bytes = 0


class SmallReads(io.FileIO):
    """A file of which nobody reads much at once, since what zipfile reads at once stays in memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is too long")
        return super().read(size) or b""


@dataclass
class Unpacker:
    """Unpacks archives into `root`, one over the other. `files` tells what lies there."""

    root: Path
    max_bytes: int
    meter: Meter
    files: dict[str, StoredFile] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)
    _entries: int = 0
    written: int = 0

    def unpack(self, archive: Path, how: Unpack) -> None:
        """Unpack one archive. Raises ArchiveRefused or SizeLimitExceeded."""
        with SmallReads(archive) as file:
            magic = file.read(4)
            file.seek(0)
            try:
                if magic.startswith(_ZIP_MAGIC):
                    self._unpack_zip(file)
                else:
                    self._unpack_tar(file, magic, how)
            except _BROKEN as error:
                raise ArchiveRefused(f"the archive cannot be unpacked: {str(error)[:300]}") from error

    def finish(self) -> None:
        """Give linked files their other names, and take a lone folder at the top for the whole."""
        for path in self._links:
            target = self._resolved(path)
            place = self._place(path)
            place.unlink(missing_ok=True)
            os.link(self.root / target, place)
            self.files[path] = self.files[target]
        self._links.clear()
        self._lift_lone_folder()

    def _unpack_tar(self, file: IO[bytes], magic: bytes, how: Unpack) -> None:
        with _tar(file, magic) as archive:
            for member in archive:
                self._count_entry()
                if how == "layer" and self._whiteout(member.name):
                    continue
                # Nothing is extracted by tarfile itself: its filters came with Python 3.11.4 only, and modes
                # and owners are left behind anyway.
                name = member.name.lstrip("/")  # as tar itself does
                path = safe_path(name) if name.strip("./") else ""
                if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                    raise ArchiveRefused(f"the archive has {path[:200]!r}, which is neither file nor folder")
                if member.isreg():
                    self._write(path, archive.extractfile(member) or file)
                elif member.issym():
                    self._link(path, posixpath.join(posixpath.dirname(path), member.linkname))
                elif member.islnk():
                    self._link(path, member.linkname)
                archive.members.clear()  # type: ignore[attr-defined]  # a stream needs no memory of them

    def _unpack_zip(self, file: IO[bytes]) -> None:
        with zipfile.ZipFile(file) as archive:
            if len(archive.infolist()) > MAX_FILES:
                self._refuse_count()
            for entry in archive.infolist():
                self._count_entry()
                if entry.is_dir():
                    continue
                path = safe_path(entry.filename)
                with archive.open(entry) as content:
                    if stat.S_ISLNK(entry.external_attr >> 16):
                        target = content.read(MAX_HEADER_BYTES).decode()
                        self._link(path, posixpath.join(posixpath.dirname(path), target))
                    else:
                        self._write(path, content)

    def _write(self, path: str, content: Readable) -> None:
        place = self._place(path)
        place.unlink(missing_ok=True)
        self._links.pop(path, None)
        digest, size = hashlib.sha256(), 0
        with place.open("xb") as out:
            while chunk := content.read(READ_BYTES):
                size += len(chunk)
                self._count_bytes(len(chunk))
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        self.files[path] = StoredFile(size, digest.hexdigest())

    def _place(self, path: str) -> Path:
        place = self.root / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ArchiveRefused(f"the archive has {path[:200]!r} below a file") from error
        if place.is_dir():
            raise ArchiveRefused(f"the archive has {path[:200]!r} as a file and as a folder")
        return place

    def _link(self, path: str, target: str) -> None:
        inside = posixpath.normpath(target)
        if inside.startswith(("/", "..")):
            raise ArchiveRefused(f"the archive has a link at {path[:200]!r} that leads out of it")
        self._links[path] = inside

    def _resolved(self, path: str) -> str:
        for _ in range(MAX_LINKS_IN_A_ROW):
            path = self._links.get(path, path)
            if path in self.files and path not in self._links:
                return path
        raise ArchiveRefused(f"the archive has a link to {path[:200]!r}, which is no file in it")

    def _whiteout(self, name: str) -> bool:
        """Carry out what a layer says about the layers below it."""
        folder, _, last = name.rpartition("/")
        if not last.startswith(WHITEOUT):
            return False
        opaque = last == OPAQUE
        gone = safe_path(posixpath.join(folder, "" if opaque else last.removeprefix(WHITEOUT)))
        for path in [p for p in {**self.files, **self._links} if PurePosixPath(p).is_relative_to(gone)]:
            self.files.pop(path, None)
            self._links.pop(path, None)
            (self.root / path).unlink(missing_ok=True)
        return True

    def _lift_lone_folder(self) -> None:
        tops = {path.partition("/")[0] for path in self.files}
        if len(tops) != 1 or any("/" not in path for path in self.files):
            return
        top = tops.pop()
        aside = self.root.with_name(f"{self.root.name}.lifted")
        (self.root / top).replace(aside)
        shutil.rmtree(self.root)
        aside.replace(self.root)
        self.files = {path.partition("/")[2]: stored for path, stored in self.files.items()}

    def _count_entry(self) -> None:
        self._entries += 1
        if self._entries > MAX_FILES:
            self._refuse_count()

    def _refuse_count(self) -> None:
        raise ArchiveRefused(f"the archive has more than {MAX_FILES} entries: pack the model's folder only")

    def _count_bytes(self, count: int) -> None:
        self.written += count
        self.meter.add(count)
        if self.written > self.max_bytes:
            raise SizeLimitExceeded(
                f"the archive unpacks to more than {self.max_bytes} bytes, which is the limit: raise"
                " spec.model.sizeLimit"
            )


@contextmanager
def _tar(file: IO[bytes], magic: bytes) -> Iterator[tarfile.TarFile]:
    if magic == _ZSTD_MAGIC:
        with ZstdFile(file) as plain, BoundedTar.open(fileobj=plain, mode="r|") as archive:
            yield archive
    else:
        # Never "r|*": xz may ask for gigabytes of memory, and nobody promised it.
        mode: Literal["r|gz", "r|"] = "r|gz" if magic.startswith(_GZIP_MAGIC) else "r|"
        with BoundedTar.open(fileobj=file, mode=mode) as archive:
            yield archive
