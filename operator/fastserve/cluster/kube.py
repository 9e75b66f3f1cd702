"""The door to a real API server: plain JSON over HTTP, server-side apply, nothing cached.

Reads are the server's most recent ("resourceVersion" unset): what is deleted or forced is decided on them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import aiohttp
import msgspec

from fastserve.api.identity import FIELD_MANAGER
from fastserve.api.objects import Kind, Manifest, ObjectKey
from fastserve.cluster.failures import Expired, Invalid, failure_of, seconds_to_wait
from fastserve.cluster.login import Login
from fastserve.cluster.paths import collection_path, object_path, selector_query
from fastserve.cluster.port import Selector
from fastserve.cluster.session import CONNECT_SECONDS, Observer, open_client
from fastserve.cluster.watching import Feed, follow
from fastserve.errors import Conflict, Foreign, NotFound, Unreachable
from fastserve.foreign_json import ForeignReader, Unreadable

CALL_SECONDS: Final = 10.0
CHUNK: Final = 500
ATTEMPTS: Final = 3
"""Of a call that is answered 429."""
LIST_ATTEMPTS: Final = 3
"""Of a list whose continue token expires on the way."""
STREAM_SECONDS: Final = 240
"""How long the server keeps one watch open."""
SILENT_SECONDS: Final = 75.0
"""A watch without a bookmark for longer than this is dead: servers send one a minute."""
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"

BeforeWrite = Callable[[], Awaitable[None]]
_OBJECT = ForeignReader(dict[str, Any])


@dataclass(frozen=True)
class Call:
    """One request, but for where the server is."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Manifest | None = None
    content_type: str = "application/json"


@asynccontextmanager
async def connected(
    login: Login,
    before_write: BeforeWrite | None = None,
    observer: Observer | None = None,
    manager: str = FIELD_MANAGER,
) -> AsyncIterator["KubeCluster"]:
    """A KubeCluster for as long as the block lasts; `before_write` is awaited before every write and may
    refuse it with a ClusterError. It writes as the field manager `manager`."""
    async with open_client(login, observer) as client:
        yield KubeCluster(client, login.server, before_write, manager)


class KubeCluster:
    """`fastserve.cluster.port.Cluster` on a real API server."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        server: str,
        before_write: BeforeWrite | None = None,
        manager: str = FIELD_MANAGER,
    ) -> None:
        self._client = client
        self._server = server.rstrip("/")
        self._before_write = before_write
        self._manager = manager

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest:
        return await self._call(Call("GET", object_path(kind, key), {}))

    async def list_of(self, kind: Kind, namespace: str, selector: Selector) -> list[Manifest]:
        items, _ = await self._list(kind, namespace, selector)
        return items

    def watch(self, kind: Kind, namespace: str, selector: Selector) -> AsyncIterator[list[Manifest]]:
        def stream(version: str) -> AsyncIterator[dict[str, Any]]:
            query = {**selector_query(selector), "resourceVersion": version}
            return self._stream(collection_path(kind, namespace), query)

        what = f"{kind.plural} in {namespace or 'all namespaces'}"
        return follow(Feed(lambda: self._list(kind, namespace, selector), stream, what))

    async def serves(self, kind: Kind) -> bool:
        """Whether the server knows the kind (a CustomResourceDefinition can come and go)."""
        group = "/api" if "/" not in kind.api_version else "/apis"
        try:
            found = await self._call(Call("GET", f"{group}/{kind.api_version}", {}))
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in found["resources"])

    async def apply(self, kind: Kind, manifest: Manifest, mode: Literal["create", "update"]) -> Manifest:
        key = ObjectKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if mode == "create" and not await self._is_ours(kind, key, manifest):
            return await self._apply(object_path(kind, key), manifest, force=False)
        try:
            return await self._apply(object_path(kind, key), manifest, force=True)
        except Invalid:
            return await self._apply_whole(kind, key, manifest)

    async def delete(self, kind: Kind, key: ObjectKey, uid: str) -> None:
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._write(Call("DELETE", object_path(kind, key), {}, body))
        except (NotFound, Conflict):  # a conflict: another object has the name by now, and it stays
            return

    async def write_status(self, kind: Kind, key: ObjectKey, manifest: Manifest) -> None:
        try:
            await self._apply(object_path(kind, key, "status"), manifest, force=True)
        except NotFound:
            return

    async def create_event(self, namespace: str, event: Manifest) -> None:
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        await self._write(Call("POST", path, {"fieldManager": self._manager}, event))

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create the object. Raises Conflict where there is one."""
        path = collection_path(kind, manifest["metadata"]["namespace"])
        return await self._call(Call("POST", path, {"fieldManager": self._manager}, manifest))

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace the object, if its resourceVersion is still the manifest's. Raises Conflict if not.

        This and `create` are for the Lease: they ask nobody before they write."""
        key = ObjectKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        return await self._call(
            Call("PUT", object_path(kind, key), {"fieldManager": self._manager}, manifest)
        )

    async def get_scale(self, kind: Kind, key: ObjectKey) -> Manifest:
        return await self._call(Call("GET", object_path(kind, key, "scale"), {}))

    async def replace_scale(self, kind: Kind, key: ObjectKey, scale: Manifest) -> None:
        query = {"fieldManager": self._manager}
        await self._write(Call("PUT", object_path(kind, key, "scale"), query, scale))

    async def _apply_whole(self, kind: Kind, key: ObjectKey, manifest: Manifest) -> Manifest:
        """Apply over what an apply cannot take back: somebody changed the key of a list's entry (a Service's
        port 80 to 81), so that ours would come beside theirs, and that the kind forbids. A merge patch has
        our lists instead of those that are there. Raises Invalid where it was our object that is at fault.
        """
        await self._is_ours(kind, key, manifest)
        path, query = object_path(kind, key), {"fieldManager": self._manager}
        said = {name: value for name, value in manifest.items() if name != "metadata"}
        await self._write(Call("PATCH", path, query, said, MERGE))
        stored = await self._apply(path, manifest, force=True)
        # The merge patch made us own its fields a second time: they would outlive an apply without them.
        metadata = stored["metadata"]
        claims = [one for one in metadata.get("managedFields", ()) if not _is_merged(one)]
        released = {"managedFields": claims, "resourceVersion": metadata["resourceVersion"]}
        return await self._write(Call("PATCH", path, query, {"metadata": released}, MERGE))

    async def _is_ours(self, kind: Kind, key: ObjectKey, manifest: Manifest) -> bool:
        """Whether the object is there and has the manifest's owner. Raises Foreign where it has another,
        Conflict where it is about to go."""
        try:
            found = await self.get(kind, key)
        except NotFound:
            return False
        has, wants = _owner(found), _owner(manifest)
        if not has or _named(has) != _named(wants):
            raise Foreign(f"{kind.name} {key.name} is there already and belongs to somebody else")
        if has["uid"] != wants["uid"]:  # a sub-model that was deleted, and made anew for another pool
            raise Conflict(f"{kind.name} {key.name} of an older {has.get('kind')} is still to be collected")
        if "deletionTimestamp" in found["metadata"]:
            raise Conflict(f"{kind.name} {key.name} is being deleted")
        return True

    async def _apply(self, path: str, manifest: Manifest, *, force: bool) -> Manifest:
        query = {"fieldManager": self._manager, "force": "true" if force else "false"}
        return await self._write(Call("PATCH", path, query, manifest, APPLY))

    async def _list(self, kind: Kind, namespace: str, selector: Selector) -> tuple[list[Manifest], str]:
        for attempt in range(LIST_ATTEMPTS):
            try:
                return await self._chunks(kind, namespace, selector)
            except Expired:
                if attempt == LIST_ATTEMPTS - 1:
                    raise
        raise AssertionError("the loop above returns or raises")

    async def _chunks(self, kind: Kind, namespace: str, selector: Selector) -> tuple[list[Manifest], str]:
        query = {**selector_query(selector), "limit": str(CHUNK)}
        items: list[Manifest] = []
        while True:
            answer = await self._call(Call("GET", collection_path(kind, namespace), query))
            # Items of a list do not say what they are; what reads them should not have to know.
            same = {"apiVersion": kind.api_version, "kind": kind.name}
            items.extend({**same, **item} for item in answer["items"])
            query["continue"] = answer["metadata"].get("continue", "")
            if not query["continue"]:
                return items, str(answer["metadata"]["resourceVersion"])

    async def _write(self, call: Call) -> Manifest:
        return await self._call(call, self._before_write)

    async def _call(self, call: Call, before: BeforeWrite | None = None) -> Manifest:
        for attempt in range(1, ATTEMPTS + 1):
            if before is not None:  # each time: who may write can have changed while the server made us wait
                await before()
            status, headers, body = await self._send(call)
            if status != 429 or attempt == ATTEMPTS:
                break
            await asyncio.sleep(seconds_to_wait(headers, datetime.now(UTC)))
        if status >= 400:
            raise failure_of(status, body)
        try:
            return _OBJECT.read(body)
        except Unreadable as error:
            what = f"{call.method} {call.path} was answered with what is no object"
            raise Unreachable(f"{what}: {error}") from error

    async def _send(self, call: Call) -> tuple[int, Mapping[str, str], bytes]:
        data = None if call.body is None else msgspec.json.encode(call.body)
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        headers = {"Content-Type": call.content_type} if data is not None else {}
        try:
            async with self._client.request(
                call.method,
                self._server + call.path,
                params=call.query,
                data=data,
                headers=headers,
                timeout=timeout,
            ) as answer:
                return answer.status, answer.headers, await answer.read()
        except TimeoutError as error:
            raise Unreachable(f"{call.method} {call.path}: no answer in {CALL_SECONDS:g} s") from error
        except aiohttp.ClientError as error:
            raise Unreachable(f"{call.method} {call.path}: {error or type(error).__name__}") from error

    async def _stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        watching = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(STREAM_SECONDS)}
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        try:
            async with self._client.get(
                self._server + path, params={**query, **watching}, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise failure_of(answer.status, await answer.read())
                async for line in answer.content:
                    yield _OBJECT.read(line)
        except TimeoutError as error:
            raise Unreachable(f"nothing came for {SILENT_SECONDS:g} s") from error
        except Unreadable as error:
            raise Expired(f"the server sent what is no object: {error}") from error
        except (aiohttp.ClientError, ValueError) as error:  # ValueError: a line without end
            raise Unreachable(str(error) or type(error).__name__) from error


def _owner(manifest: Manifest) -> Mapping[str, Any]:
    """The reference to the object's controller; empty where it has none."""
    references = manifest["metadata"].get("ownerReferences", ())
    return next((one for one in references if one.get("controller")), {})


def _named(owner: Mapping[str, Any]) -> tuple[str, ...]:
    """Which object an owner reference names, whichever life of it."""
    group, _, _ = str(owner.get("apiVersion", "")).rpartition("/")
    return group, str(owner.get("kind", "")), str(owner.get("name", ""))


def _is_merged(claim: Manifest) -> bool:
    """Whether an entry of managedFields is that of a merge patch of ours."""
    return claim.get("manager") == FIELD_MANAGER and claim.get("operation") == "Update"
