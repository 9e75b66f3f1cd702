"""A Lease, and SubModels with /scale, as an API server keeps them: with resourceVersions."""

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastserve.api.objects import LEASE, Kind, Manifest, ObjectKey
from fastserve.cluster.port import Selector
from fastserve.errors import Conflict, NotFound, Unreachable


@dataclass
class ScaleServer:
    """`writes` are (who, sub-model, replicas, when), in their order."""

    replicas: dict[str, int]
    lease: Manifest | None = None
    versions: dict[str, int] = field(default_factory=dict)
    writes: list[tuple[str, str, int, float]] = field(default_factory=list)
    events: list[Manifest] = field(default_factory=list)
    away: bool = False

    def by(self, name: str) -> "ScaleDoor":
        return ScaleDoor(self, name)


class ScaleDoor:
    """The server as one router reaches it; `after_read` runs between reading and writing /scale."""

    def __init__(self, server: ScaleServer, name: str) -> None:
        self._server = server
        self._name = name
        self.after_read: asyncio.Event | None = None

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest:
        self._check()
        if kind != LEASE or self._server.lease is None:
            raise NotFound(str(key))
        return copy.deepcopy(self._server.lease)

    async def list_of(self, kind: Kind, namespace: str, selector: Selector) -> list[Manifest]:
        raise AssertionError("nothing is listed")

    def watch(self, kind: Kind, namespace: str, selector: Selector) -> AsyncIterator[list[Manifest]]:
        raise AssertionError("nothing is watched")

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        raise Unreachable("routers may not create a Lease")

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        self._check()
        lease = self._server.lease
        if lease is None or lease["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict("another came first")
        kept = copy.deepcopy(manifest)
        kept["metadata"]["resourceVersion"] = str(int(lease["metadata"]["resourceVersion"]) + 1)
        self._server.lease = kept
        return copy.deepcopy(kept)

    async def get_scale(self, kind: Kind, key: ObjectKey) -> Manifest:
        self._check()
        version = self._server.versions.get(key.name, 1)
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": str(version), "uid": "u"}
        found = {"metadata": metadata, "spec": {"replicas": self._server.replicas[key.name]}}
        if self.after_read is not None:
            await self.after_read.wait()
        return found

    async def replace_scale(self, kind: Kind, key: ObjectKey, scale: Manifest) -> None:
        self._check()
        version = self._server.versions.get(key.name, 1)
        if scale["metadata"]["resourceVersion"] != str(version):
            raise Conflict("another came first")
        self._server.versions[key.name] = version + 1
        self._server.replicas[key.name] = scale["spec"]["replicas"]
        when = asyncio.get_running_loop().time()
        self._server.writes.append((self._name, key.name, scale["spec"]["replicas"], when))

    async def create_event(self, namespace: str, event: Manifest) -> None:
        self._check()
        self._server.events.append(event)

    def _check(self) -> None:
        if self._server.away:
            raise Unreachable("away")


def free_lease(name: str = "news-p-scaling") -> Manifest:
    """A Lease as the operator makes it: nobody's."""
    return {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.name,
        "metadata": {
            "name": name,
            "namespace": "default",
            "resourceVersion": "1",
            "ownerReferences": [{"kind": "ModelPool", "name": "news"}],
        },
    }
