"""Where prototypes lie, and the examples they are made of."""

import asyncio
import io
import logging
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastserve.api.identity import digest_of
from fastserve.api.routes import Meaning
from fastserve.api.uris import path_of
from fastserve.errors import CheckpointError
from fastserve.foreign_json import ForeignReader, Unreadable
from fastserve.router.prototypes import RUNS, SEED, Vectors

_lines = ForeignReader(dict[str, object])
MAX_EXAMPLES = 20_000
"""Read from one file; prototypes do not get better with more."""
log = logging.getLogger(__name__)


class PrototypeStore(Protocol):
    """Where a pool's routers share prototypes: a folder locally, ConfigMaps on a cluster. Only a router that
    `computes` gives any."""

    computes: bool

    async def read(self, member: str, key: str) -> Vectors | None:
        """float32 [n, d] of unit length, or None where they are not there yet. Raises ClusterError."""
        ...

    async def keep(self, member: str, key: str, rows: Vectors) -> Vectors:
        """Store rows, float32 [n, d]; returns them as others will read them."""
        ...


class PrototypeFolder:
    """PrototypeStore over a folder."""

    def __init__(self, folder: Path, *, computes: bool) -> None:
        self.computes = computes
        self._folder = folder

    async def read(self, member: str, key: str) -> Vectors | None:  # noqa: ARG002  the protocol's
        return await asyncio.to_thread(read_prototypes, self._folder, key)

    async def keep(self, member: str, key: str, rows: Vectors) -> Vectors:
        try:
            await asyncio.to_thread(write_prototypes, self._folder, key, rows)
        except OSError as error:
            log.error("prototypes cannot be stored", extra={"member": member, "why": str(error)})
        return rows


def prototype_key(encoder_digest: str, meaning: Meaning, max_tokens: int) -> str:
    """Name under which the prototypes of a meaning are kept: all that they depend on."""
    clustering = {"seed": SEED, "runs": RUNS}
    return digest_of(
        {"encoder": encoder_digest, "examples": meaning.digest, "maxTokens": max_tokens, **clustering}
    )


def read_prototypes(folder: Path, key: str) -> Vectors | None:
    """float32 [n, d] of unit length, or None where they are not there yet."""
    try:
        rows = np.load(folder / f"{key}.npy", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return _rows(rows)


def packed(rows: Vectors) -> bytes:
    """Prototypes as they travel: .npy, fp16 [n, d]."""
    file = io.BytesIO()
    np.save(file, rows.astype(np.float16, order="C"))
    return file.getvalue()


def unpacked(content: bytes) -> Vectors | None:
    """float32 [n, d] of what `packed` made, or None where it is something else.

    Anybody may have written it who writes ConfigMaps: np.load would believe a header that tells of terabytes.
    """
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        if kind != np.float16:
            return None
        rows = np.frombuffer(content, np.float16, offset=file.tell()).reshape(shape)
    except (EOFError, OSError, ValueError, MemoryError, RecursionError):
        return None
    return _rows(rows)


def _rows(rows: npt.NDArray[Any]) -> Vectors | None:
    if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind != "f" or not np.isfinite(rows).all():
        return None
    return np.ascontiguousarray(rows, np.float32)


def write_prototypes(folder: Path, key: str, rows: Vectors) -> None:
    """Store them whole or not at all: other routers wait for this file."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{key}.{os.getpid()}"
    with part.open("wb") as file:
        np.save(file, rows)
    part.replace(folder / f"{key}.npy")


def read_examples(meaning: Meaning) -> list[str]:
    """All example texts of a meaning. Raises CheckpointError, naming the file and the line at fault."""
    texts = list(meaning.examples)
    if meaning.storage_uri:
        texts += _read_file(path_of(meaning.storage_uri))
    if not texts:
        raise CheckpointError("there are no examples")
    return texts[:MAX_EXAMPLES]


def _read_file(path: Path) -> list[str]:
    try:
        # Not splitlines: a text in JSON may hold the other characters that it takes for ends of lines.
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise CheckpointError(f"examples file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"examples file {path} is not UTF-8 at byte {error.start}") from error
    texts = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped:
            texts.append(_text_of(stripped, f"{path}:{number}"))
    return texts


def _text_of(line: str, place: str) -> str:
    """A line is a text, or a JSON object with a field "text"."""
    if not line.startswith("{"):
        return line
    try:
        document = _lines.read(line)
    except Unreadable as error:
        raise CheckpointError(f"{place}: {error}") from error
    text = document.get("text")
    if not isinstance(text, str):
        raise CheckpointError(f'{place}: the field "text" is missing')
    return text
