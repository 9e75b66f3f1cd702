"""Who else is there: a file with the pool's routers, and their health.

{"peers": [{"instance": "…", "member": "…" or null, "address": "host:port", "admin": "host:port"}]}
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from fastserve.foreign_json import ForeignReader
from fastserve.router.certificates import PeerTls
from fastserve.router.replicas import PeerReplica
from fastserve.router.table import WatchedFile

POLL_SECONDS = 0.5
PROBE_TICK_SECONDS = 0.1
log = logging.getLogger(__name__)


class Peer(msgspec.Struct, frozen=True):
    """One router of the pool. `member` is null for a stand-by router, which serves no sub-model."""

    instance: str
    address: str
    admin: str
    member: str | None = None
    ready: bool | None = None
    """What somebody else thinks of it, where anybody does: a reason to look at once, and no more."""


class PeerList(msgspec.Struct, frozen=True):
    peers: tuple[Peer, ...]


_lists = ForeignReader(PeerList)


class PeerSource(Protocol):
    """Where peers are learnt from: a file locally, EndpointSlices on a cluster."""

    def changed(self) -> tuple[Peer, ...] | None:
        """All peers where they changed since the last call, else None. Raises ValueError, OSError."""
        ...


class PeerFile:
    """PeerSource over a file."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path)

    def changed(self) -> tuple[Peer, ...] | None:
        text = self._file.changed()
        return None if text is None else _lists.read(text).peers


class Peers:
    """The peers that serve sub-models, by instance; never this router itself."""

    def __init__(
        self, own_instance: str, on_health: Callable[[str, bool], None], tls: PeerTls | None = None
    ) -> None:
        self.replicas: dict[str, PeerReplica] = {}
        self.by_member: dict[str, list[PeerReplica]] = {}
        self.listed: tuple[Peer, ...] = ()
        """All other routers of the pool, stand-by ones too."""
        self._own = own_instance
        self._told: dict[str, bool] = {}
        self._members: set[str] = set()
        """Sub-models whose health was told."""
        self._on_health = on_health
        self._tls = tls

    def of(self, member: str) -> list[PeerReplica]:
        return self.by_member.get(member, [])

    def replace(self, peers: tuple[Peer, ...]) -> None:
        """Take over a new list; who stays keeps connections and health."""
        self.listed = tuple(peer for peer in peers if peer.instance != self._own)
        kept: dict[str, PeerReplica] = {}
        for peer in peers:
            if peer.member is None or peer.instance == self._own:
                continue
            old = self.replicas.get(peer.instance)
            same = old is not None and (old.address, old.admin, old.member) == (
                peer.address,
                peer.admin,
                peer.member,
            )
            kept[peer.instance] = (
                old
                if old and same
                else PeerReplica(peer.instance, peer.member, peer.address, peer.admin, tls=self._tls)
            )
            kept[peer.instance].hint(peer.ready)
        for instance, replica in self.replicas.items():
            if kept.get(instance) is not replica:
                replica.close()
        self.replicas = kept
        self.by_member = {}
        for replica in kept.values():
            self.by_member.setdefault(replica.member, []).append(replica)

    async def watch(self, source: PeerSource) -> None:
        """Follow the source for ever; a list that cannot be used leaves the known peers in place."""
        why = ""
        while True:
            try:
                peers = source.changed()
                if peers is not None:
                    self.replace(peers)
                    why = ""
                    log.info("peers changed", extra={"peers": len(self.replicas)})
            except (OSError, ValueError) as error:
                if why != str(error):
                    why = str(error)
                    log.error("the list of peers cannot be used", extra={"why": why})
            await asyncio.sleep(POLL_SECONDS)

    async def probe(self) -> None:
        """Look at every peer about once a second, and more often at one that fails, for ever. None waits for
        another one's answer."""
        loop = asyncio.get_running_loop()
        under_way: dict[PeerReplica, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                under_way = {one: task for one, task in under_way.items() if not task.done()}
                for one in self.replicas.values():
                    if one not in under_way and one.probe_due(loop.time()):
                        under_way[one] = group.create_task(one.probe())
                self._tell()
                await asyncio.sleep(PROBE_TICK_SECONDS)

    def _tell(self) -> None:
        """Log and count what changed since the last time."""
        for member in self._members - self.by_member.keys():
            self._on_health(member, False)
        self._members = set(self.by_member)
        for member, replicas in self.by_member.items():
            self._on_health(member, any(one.ready for one in replicas))
        ready = {instance: one.ready for instance, one in self.replicas.items()}
        for instance in ready.keys() & self._told.keys():
            if ready[instance] != self._told[instance]:
                log.info("peer changed", extra={"peer": instance, "ready": ready[instance]})
        self._told = ready

    def close(self) -> None:
        for replica in self.replicas.values():
            replica.close()
