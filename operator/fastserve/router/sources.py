"""Where a router learns of its pool: files on one machine, the Kubernetes API on a cluster."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastserve.cluster.port import Reads
from fastserve.errors import InvalidSpec
from fastserve.router.peers import PeerFile, PeerSource
from fastserve.router.prototype_files import PrototypeFolder, PrototypeStore
from fastserve.router.settings import RouterSettings
from fastserve.router.table import TextSource, WatchedFile
from fastserve.router.watched import PrototypeConfigMaps, WatchedPeers, WatchedTable


@dataclass(frozen=True)
class Sources:
    """The table, the peers and the prototypes; `loops` keep them up to date."""

    table: TextSource
    peers: PeerSource
    prototypes: PrototypeStore
    loops: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()


def sources_of(settings: RouterSettings, reads: Reads | None) -> Sources:
    """Raises InvalidSpec where the settings name neither a cluster that can be read nor all three paths."""
    if settings.cluster is None:
        return _files(settings)
    if reads is None:
        raise InvalidSpec("cluster", "nobody reads the Kubernetes API")
    table = WatchedTable(reads, settings.cluster)
    peers = WatchedPeers(reads, settings.cluster.namespace, settings.pool)
    store = PrototypeConfigMaps(reads, settings.cluster.namespace, computes=settings.computes_prototypes)
    return Sources(table, peers, store, (table.run, peers.run))


def _files(settings: RouterSettings) -> Sources:
    table, peers, prototypes = settings.table_path, settings.peers_path, settings.prototypes_path
    if table is None or peers is None or prototypes is None:
        raise InvalidSpec("cluster", "is required without table_path, peers_path and prototypes_path")
    store = PrototypeFolder(Path(prototypes), computes=settings.computes_prototypes)
    return Sources(WatchedFile(Path(table)), PeerFile(Path(peers)), store)
