"""The one door to the Kubernetes API, as a protocol: it speaks manifests only.

Every call is bounded in time. Errors are the ClusterError tree of fastserve.errors.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from fastserve.api.objects import Kind, Manifest, ObjectKey


@dataclass(frozen=True)
class Selector:
    """Which objects of a namespace: by labels, by fields, or all."""

    labels: Mapping[str, str] | None = None
    fields: Mapping[str, str] | None = None


class Reads(Protocol):
    """What routers need: reading and watching. Raises NotFound for a missing object, ClusterError."""

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest: ...

    async def list_of(self, kind: Kind, namespace: str, selector: Selector) -> list[Manifest]: ...

    def watch(self, kind: Kind, namespace: str, selector: Selector) -> AsyncIterator[list[Manifest]]:
        """The whole current set at first and after every change, for ever; reconnects by itself."""
        ...


class Cluster(Reads, Protocol):
    """What the operator needs besides. All writes are by FIELD_MANAGER."""

    async def apply(self, kind: Kind, manifest: Manifest, mode: Literal["create", "update"]) -> Manifest:
        """Server-side apply. ``create`` raises Foreign where an object of that name exists and is not owned
        by the manifest's own owner, and does not force; ``update`` forces. Returns the stored object."""
        ...

    async def delete(self, kind: Kind, key: ObjectKey, uid: str) -> None:
        """Delete in the background, only if the uid is still this one; a missing object is no error."""
        ...

    async def write_status(self, kind: Kind, key: ObjectKey, manifest: Manifest) -> None:
        """Server-side apply of `manifest`'s status on ``/status``; a missing object is no error."""
        ...

    async def create_event(self, namespace: str, event: Manifest) -> None: ...


class Scales(Reads, Protocol):
    """What the router needs besides that holds the pool's Lease."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest: ...

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest: ...

    async def get_scale(self, kind: Kind, key: ObjectKey) -> Manifest:
        """The object's ``/scale``."""
        ...

    async def replace_scale(self, kind: Kind, key: ObjectKey, scale: Manifest) -> None:
        """Write ``/scale``, if its resourceVersion is still that of `scale`. Raises Conflict if not."""
        ...

    async def create_event(self, namespace: str, event: Manifest) -> None: ...
