"""A pool whose routers read a Kubernetes API of a few lines: objects in memory, watches, long absences."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastserve.api.objects import CONFIG_MAP, ENDPOINT_SLICE, Kind, Manifest, ObjectKey
from fastserve.cluster.port import Selector
from fastserve.errors import NotFound, Unreachable
from wiring.router.router_world import PLACE, Node, World, member_document, table_document


class FakeApi:
    """Reads, as fastserve.cluster.port says it; `away` is an API server that nobody reaches."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.away = False
        self.gets: list[str] = []
        self._changed = asyncio.Event()

    def put(self, kind: Kind, name: str, **content: object) -> None:
        metadata = {"name": name, "namespace": PLACE.namespace, "labels": content.pop("labels", {})}
        self.objects[kind.plural, name] = {"metadata": metadata, **content}
        self.stir()

    def drop(self, kind: Kind, name: str) -> None:
        del self.objects[kind.plural, name]
        self.stir()

    def stir(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest:
        self.gets.append(key.name)
        self._reach()
        if (kind.plural, key.name) not in self.objects:
            raise NotFound(f"{kind.plural} {key.name!r} not found")
        return self.objects[kind.plural, key.name]

    async def list_of(self, kind: Kind, namespace: str, selector: Selector) -> list[Manifest]:
        self._reach()
        return self._chosen(kind, namespace, selector)

    async def watch(self, kind: Kind, namespace: str, selector: Selector) -> AsyncIterator[list[Manifest]]:
        while True:
            changed = self._changed
            if not self.away:
                yield self._chosen(kind, namespace, selector)
            await changed.wait()

    def _reach(self) -> None:
        if self.away:
            raise Unreachable("connection refused")

    def _chosen(self, kind: Kind, namespace: str, selector: Selector) -> list[Manifest]:
        assert namespace == PLACE.namespace
        found = [one for (plural, _), one in self.objects.items() if plural == kind.plural]
        labels, fields = (selector.labels or {}).items(), selector.fields or {}
        found = [one for one in found if labels <= one["metadata"]["labels"].items()]
        return [one for one in found if fields.get("metadata.name") in (None, one["metadata"]["name"])]


class ApiWorld(World):
    """A World over a FakeApi. What the operator would do, the test does."""

    api: FakeApi

    def write_table(self) -> None:
        self.api.put(CONFIG_MAP, PLACE.routes, data={"routes.json": json.dumps(self.document)})

    def write_peers(self) -> None:
        for name, node in self.nodes.items():
            if node.settings.member is not None:
                self.write_peer(name, node)

    def write_peer(self, name: str, node: Node, **conditions: bool) -> None:
        labels = {"fastserve.io/pool": "assistant", "fastserve.io/submodel": node.settings.member}
        endpoint = {
            "addresses": ["127.0.0.1"],
            "conditions": {"ready": True, **conditions},
            "targetRef": {"kind": "Pod", "name": f"{name}-pod", "uid": name},
        }
        ports = [
            {"name": "data", "port": node.settings.data_port},
            {"name": "admin", "port": node.settings.admin_port},
        ]
        slice_ = {"addressType": "IPv4", "endpoints": [endpoint], "ports": ports, "labels": labels}
        self.api.put(ENDPOINT_SLICE, f"{name}-x", **slice_)

    async def store_prototypes(self) -> None:
        """Carry what the door computed into the ConfigMaps."""
        for member, key in (await self.door.state())["prototypeKeys"].items():
            reply = await self.door.admin.get(f"/v1/prototypes/{key}", 5.0)
            rows = base64.b64encode(reply.body).decode()
            self.api.put(CONFIG_MAP, f"{member}-m-prototypes", data={"key": key}, binaryData={"rows": rows})

    async def door_knows(self, *names: str) -> None:
        async def fact() -> bool:
            return set((await self.door.state())["prototypeKeys"]) == set(names)

        await self.until(fact)


@asynccontextmanager
async def api_world(folder: Path, members: tuple[str, ...] = ("banking", "travel"), **changes: object):
    """A pool on the fake cluster in which all the named sub-models are ready; `changes` are settings of the
    members' routers."""
    api = FakeApi()
    pool = ApiWorld(folder, table_document([member_document(name) for name in members]), reads=api)
    pool.api = api
    pool.write_table()
    try:
        await pool.start("door")
        for name in members:
            await pool.start(name, name, **changes)
        pool.write_peers()
        await pool.door_knows(*members)
        await pool.store_prototypes()
        await pool.all_ready()
        yield pool
    finally:
        await pool.close()
