"""The loops that keep what the doors know up to date: the route table and the prototypes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastserve.api.routes import Member
from fastserve.errors import CheckpointError
from fastserve.router.encoder import EncoderService
from fastserve.router.pool import Pool
from fastserve.router.prototype_files import (
    prototype_key,
    read_examples,
    read_prototypes,
    write_prototypes,
)
from fastserve.router.prototypes import Vectors, prototypes_of
from fastserve.router.selection import Prototypes
from fastserve.router.table import TableSnapshot, WatchedFile, parse_table

POLL_SECONDS = 0.5
log = logging.getLogger(__name__)


class TableKeeper:
    """Follows the route table's file; a table that cannot be read leaves the old one in place."""

    def __init__(self, path: Path, pool: Pool, on_table: Callable[[TableSnapshot], None]) -> None:
        self._file = WatchedFile(path)
        self._pool = pool
        self._on_table = on_table

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(POLL_SECONDS)

    def look(self) -> None:
        """One look at the file."""
        pool = self._pool
        try:
            text = self._file.changed()
            if text is None:
                return
            snapshot = parse_table(text)
        except (OSError, ValueError) as error:
            if pool.table_error != str(error):
                log.error("route table cannot be read", extra={"why": str(error)})
            pool.table_error = str(error)
            return
        pool.snapshot, pool.table_error = snapshot, ""
        self._on_table(snapshot)
        log.info("route table taken", extra={"generation": snapshot.table.generation})


@dataclass(frozen=True)
class PrototypeSource:
    """Where prototypes come from. Only the one router that `computes` writes to `folder`."""

    folder: Path
    computes: bool
    encoder: EncoderService


class PrototypeKeeper:
    """Keeps pool.prototypes at what the table's meanings say; a sub-model whose examples cannot be read
    has none, and pool.unselectable says why."""

    def __init__(self, source: PrototypeSource, pool: Pool) -> None:
        self._source = source
        self._pool = pool
        self._rows: dict[str, Vectors] = {}
        self._names: dict[str, str] = {}

    async def run(self) -> None:
        while True:
            if self._pool.snapshot is not None:
                await self.look(self._pool.snapshot)
            await asyncio.sleep(POLL_SECONDS)

    async def look(self, snapshot: TableSnapshot) -> None:
        """Find what is missing, then exchange the whole index if anything changed."""
        keys, why = {}, {}
        max_tokens = snapshot.table.selection.max_tokens
        for member in snapshot.table.members:
            key = prototype_key(self._source.encoder.digest, member.meaning, max_tokens)
            if key not in self._rows:
                try:
                    await self._find(key, member, max_tokens)
                except CheckpointError as error:
                    why[member.name] = str(error)
                    continue
            keys[member.name] = key
        self._exchange(keys, why)

    async def _find(self, key: str, member: Member, max_tokens: int) -> None:
        """Read them, or compute and store them. Raises CheckpointError where neither can be done."""
        source = self._source
        rows = await asyncio.to_thread(read_prototypes, source.folder, key)
        if rows is None and not source.computes:
            raise CheckpointError("another router has not computed its prototypes yet")
        if rows is None:
            texts = await asyncio.to_thread(read_examples, member.meaning)
            vectors = await source.encoder.batch(texts, max_tokens)
            rows = await asyncio.to_thread(prototypes_of, vectors)
            try:
                await asyncio.to_thread(write_prototypes, source.folder, key, rows)
            except OSError as error:
                log.error("prototypes cannot be stored", extra={"why": str(error)})
            log.info("prototypes computed", extra={"member": member.name, "prototypes": len(rows)})
        self._rows[key] = unit(rows)

    def _exchange(self, keys: Mapping[str, str], why: Mapping[str, str]) -> None:
        for name in why.keys() - self._pool.unselectable.keys():
            log.warning("not selectable", extra={"member": name, "why": why[name]})
        self._pool.unselectable = dict(why)
        if keys == self._names:
            return
        self._names = dict(keys)
        self._rows = {key: self._rows[key] for key in keys.values()}
        self._pool.prototypes = Prototypes.of({name: self._rows[key] for name, key in keys.items()})


def unit(rows: Vectors) -> Vectors:
    """Rows of unit length; stored ones may have lost a little."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if np.abs(lengths - 1.0).max() < 1e-6:
        return rows
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)
