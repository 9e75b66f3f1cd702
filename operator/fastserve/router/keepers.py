"""The loops that keep what the doors know up to date: the route table and the prototypes."""

import asyncio
import logging
from collections.abc import Callable, Mapping

import numpy as np

from fastserve.api.routes import Member
from fastserve.errors import CheckpointError, ClusterError
from fastserve.router.encoder import EncoderService
from fastserve.router.pool import Pool
from fastserve.router.prototype_files import PrototypeStore, packed, prototype_key, read_examples
from fastserve.router.prototypes import Vectors, prototypes_of
from fastserve.router.selection import Prototypes
from fastserve.router.table import TableSnapshot, TextSource, parse_table

POLL_SECONDS = 0.5
log = logging.getLogger(__name__)


class TableKeeper:
    """Follows the route table; one that cannot be read leaves the old one in place."""

    def __init__(self, source: TextSource, pool: Pool, on_table: Callable[[TableSnapshot], None]) -> None:
        self._source = source
        self._pool = pool
        self._on_table = on_table

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(POLL_SECONDS)

    def look(self) -> None:
        """One look at the source."""
        pool = self._pool
        try:
            text = self._source.changed()
            if text is None:
                return
            snapshot = parse_table(text)
        except (OSError, ValueError, ClusterError) as error:
            if pool.table_error != str(error):
                log.error("route table cannot be read", extra={"why": str(error)})
            pool.table_error = str(error)
            return
        pool.snapshot, pool.table_error = snapshot, ""
        self._on_table(snapshot)
        log.info("route table taken", extra={"generation": snapshot.table.generation})


class PrototypesAwaited(CheckpointError):
    """Another router computes them; what this one had before goes on serving."""

    reason = "PrototypesAwaited"


class PrototypeKeeper:
    """Keeps pool.prototypes at what the table's meanings say; a sub-model whose examples cannot be read
    has none, and pool.unselectable says why."""

    def __init__(self, store: PrototypeStore, encoder: EncoderService, pool: Pool) -> None:
        self._store = store
        self._encoder = encoder
        self._pool = pool
        self._rows: dict[str, Vectors] = {}
        self._names: dict[str, str] = {}

    @property
    def keys(self) -> dict[str, str]:
        """The key of the prototypes in use, by sub-model."""
        return dict(self._names)

    def file_of(self, key: str) -> bytes | None:
        """The prototypes in use under a key: .npy, fp16 [n, d]; None where there are none."""
        return packed(self._rows[key]) if key in self._names.values() else None

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
            key = prototype_key(self._encoder.digest, member.meaning, max_tokens)
            try:
                if key not in self._rows:
                    await self._find(key, member, max_tokens)
                keys[member.name] = key
            except PrototypesAwaited as error:
                if member.name in self._names:
                    keys[member.name] = self._names[member.name]
                else:
                    why[member.name] = str(error)
            except CheckpointError as error:
                why[member.name] = str(error)
        self._exchange(keys, why)

    async def _find(self, key: str, member: Member, max_tokens: int) -> None:
        """Read them, or compute and store them. Raises CheckpointError where neither can be done."""
        store = self._store
        try:
            rows = await store.read(member.name, key)
        except ClusterError as error:
            # Who may compute need not wait for an API server that is away.
            rows = None
            if not store.computes:
                raise PrototypesAwaited(f"its prototypes cannot be read: {error}") from error
        if rows is not None and rows.shape[1] != await self._encoder.dimension(max_tokens):
            rows = None  # somebody else's: one such matrix beside the others would end this router
        if rows is None and not store.computes:
            raise PrototypesAwaited("another router has not computed its prototypes yet")
        if rows is None:
            texts = await asyncio.to_thread(read_examples, member.meaning)
            vectors = await self._encoder.batch(texts, max_tokens)
            rows = await asyncio.to_thread(prototypes_of, vectors)
            rows = await store.keep(member.name, key, rows)
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
