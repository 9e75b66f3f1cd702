"""What a router on a cluster is told: the ConfigMaps of table and prototypes, and EndpointSlices.

The API server may be away for hours: what was read last stays, and only a router that never read anything
says that it waits.
"""

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastserve.api.identity import ADMIN_PORT, DATA_PORT, POOL_LABEL, SUBMODEL_LABEL, prototypes_name
from fastserve.api.objects import CONFIG_MAP, ENDPOINT_SLICE, Kind, Manifest, ObjectKey
from fastserve.cluster.port import Reads, Selector
from fastserve.errors import ClusterError, NotFound, Unreachable
from fastserve.router.peers import Peer
from fastserve.router.prototype_files import packed, unpacked
from fastserve.router.prototypes import Vectors
from fastserve.router.settings import ClusterPlace

TABLE_KEY = "routes.json"
FIRST_PAUSE_SECONDS = 0.5
MOST_PAUSE_SECONDS = 10.0
FIRST_ASK_SECONDS = 0.5
MOST_ASK_SECONDS = 4.0
"""Between two looks for prototypes that are missing."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Follow:
    """Which objects to follow, and who takes the whole set, or why there is none, after every change."""

    reads: Reads
    kind: Kind
    namespace: str
    selector: Selector
    take: Callable[[list[Manifest]], None]
    fail: Callable[[ClusterError], None]


async def follow(what: Follow) -> None:
    """Keep `what.take` told for ever, whatever becomes of the API server."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            # A watch reconnects by itself and does not say why it is silent; a list does.
            what.take(await what.reads.list_of(what.kind, what.namespace, what.selector))
            async for found in what.reads.watch(what.kind, what.namespace, what.selector):
                what.take(found)
                pause = FIRST_PAUSE_SECONDS
        except ClusterError as error:
            what.fail(error)
        except Exception as error:  # a fault of a client library must not end a router that serves
            log.exception("watching failed", extra={"kind": what.kind.name})
            what.fail(Unreachable(f"watching {what.kind.plural} failed: {error!r}"))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret
        pause = min(2 * pause, MOST_PAUSE_SECONDS)


class WatchedTable:
    """TextSource over the pool's ConfigMap."""

    def __init__(self, reads: Reads, place: ClusterPlace) -> None:
        self._reads = reads
        self._place = place
        self._text: str | None = None
        self._fresh = False
        self._why: ClusterError | None = None

    def changed(self) -> str | None:
        if self._text is None and self._why is not None:
            raise Unreachable(f"the route table cannot be read: {self._why}") from self._why
        if not self._fresh:
            return None
        self._fresh = False
        return self._text

    async def run(self) -> None:
        """Follow the ConfigMap for ever."""
        place = self._place
        selector = Selector(fields={"metadata.name": place.routes})
        await follow(Follow(self._reads, CONFIG_MAP, place.namespace, selector, self._take, self._fail))

    def _take(self, found: list[Manifest]) -> None:
        text = next((one.get("data", {}).get(TABLE_KEY) for one in found), None)
        if text is None:
            name = f"{self._place.namespace}/{self._place.routes}"
            self._fail(NotFound(f"the ConfigMap {name} does not hold one yet"))
        elif text != self._text:
            self._text, self._fresh = text, True

    def _fail(self, error: ClusterError) -> None:
        if str(error) != str(self._why):
            log.warning("the route table is not told", extra={"why": str(error)})
        self._why = error


class WatchedPeers:
    """PeerSource over the EndpointSlices of the pool's sub-models."""

    def __init__(self, reads: Reads, namespace: str, pool: str) -> None:
        self._reads = reads
        self._namespace = namespace
        self._pool = pool
        self._peers: tuple[Peer, ...] | None = None
        self._fresh = False

    def changed(self) -> tuple[Peer, ...] | None:
        if not self._fresh:
            return None
        self._fresh = False
        return self._peers

    async def run(self) -> None:
        """Follow the EndpointSlices for ever."""
        selector = Selector(labels={POOL_LABEL: self._pool})
        await follow(Follow(self._reads, ENDPOINT_SLICE, self._namespace, selector, self._take, self._fail))

    def _take(self, found: list[Manifest]) -> None:
        peers = peers_of(found)
        if peers != self._peers:
            self._peers, self._fresh = peers, True

    def _fail(self, error: ClusterError) -> None:
        log.warning("peers are not told", extra={"why": str(error)})


def peers_of(slices: Iterable[Manifest]) -> tuple[Peer, ...]:
    """The routers that are not about to end, by instance. A pod with addresses of two families is one peer;
    all are behind the pool's own Service, and those of members behind a second one that tells whose."""
    found: dict[str, Peer] = {}
    for one in sorted(slices, key=_members_first):
        for peer in _peers_in(one):
            found.setdefault(peer.instance, peer)
    return tuple(found[instance] for instance in sorted(found))


def _members_first(one: Manifest) -> tuple[bool, str, str]:
    return _member_of(one) is None, str(one.get("addressType")), str(one["metadata"]["name"])


def _member_of(one: Manifest) -> str | None:
    return (one["metadata"].get("labels") or {}).get(SUBMODEL_LABEL)


def _peers_in(one: Manifest) -> Iterator[Peer]:
    member = _member_of(one)
    ports = {port.get("name"): port.get("port") for port in one.get("ports") or ()}
    data, admin = ports.get("data") or DATA_PORT, ports.get("admin") or ADMIN_PORT
    for endpoint in one.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        instance = (endpoint.get("targetRef") or {}).get("uid")
        if instance and endpoint.get("addresses") and not conditions.get("terminating"):
            address = _literal(endpoint["addresses"][0])
            yield Peer(
                instance, f"{address}:{data}", f"{address}:{admin}", member, _hint(conditions.get("ready"))
            )


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _hint(ready: Any) -> bool | None:
    return ready if isinstance(ready, bool) else None


class PrototypeConfigMaps:
    """PrototypeStore over one ConfigMap for each sub-model. The operator writes them, from what a router that
    computes answers at its admin port."""

    def __init__(self, reads: Reads, namespace: str, *, computes: bool) -> None:
        self.computes = computes
        self._reads = reads
        self._namespace = namespace
        self._waits: dict[str, tuple[float, float]] = {}

    async def read(self, member: str, key: str) -> Vectors | None:
        """As the protocol says. What is missing is looked for less and less often."""
        now = asyncio.get_running_loop().time()
        due, pause = self._waits.get(key, (now, FIRST_ASK_SECONDS))
        if now < due:
            return None
        self._waits[key] = (now + pause * random.uniform(0.5, 1.0), min(2 * pause, MOST_ASK_SECONDS))  # noqa: S311
        try:
            found = await self._reads.get(CONFIG_MAP, ObjectKey(self._namespace, prototypes_name(member)))
        except NotFound:
            return None
        return _rows_in(found, key)

    async def keep(self, member: str, key: str, rows: Vectors) -> Vectors:  # noqa: ARG002  the protocol's
        """Nothing is written; all routers are to choose by the same numbers."""
        kept = unpacked(packed(rows))
        return rows if kept is None else kept


def _rows_in(found: Manifest, key: str) -> Vectors | None:
    if (found.get("data") or {}).get("key") != key:
        return None
    try:
        content = base64.b64decode((found.get("binaryData") or {}).get("rows", ""), validate=True)
    except binascii.Error:
        return None
    return unpacked(content)
