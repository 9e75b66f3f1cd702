"""Which pool an object belongs to."""

from fastserve.api.identity import POOL_LABEL
from fastserve.api.objects import CHILD_KINDS, LEASE, MODEL_POOL, POD, SUB_MODEL, Kind, Manifest, ObjectKey

WATCHED: tuple[Kind, ...] = (MODEL_POOL, SUB_MODEL, *(kind for kind in CHILD_KINDS if kind != LEASE), POD)
"""A Lease changes every few seconds, and what its holder writes there is none of the operator's business."""


class PoolIndex:
    """Finds the pool of any object. Remembers the pool of each SubModel, for the child of one whose label
    somebody took away."""

    def __init__(self) -> None:
        self._pools: dict[ObjectKey, ObjectKey] = {}

    def pool_of(self, kind: Kind, manifest: Manifest, *, is_gone: bool) -> ObjectKey | None:
        """The pool's key, or None for an object that says nothing of one."""
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "")
        if kind == MODEL_POOL:
            return ObjectKey(namespace, metadata["name"])
        if kind == SUB_MODEL:
            return self._note(ObjectKey(namespace, metadata["name"]), manifest, is_gone=is_gone)
        name = (metadata.get("labels") or {}).get(POOL_LABEL, "")
        return ObjectKey(namespace, name) if name else self._by_owner(namespace, manifest)

    def _note(self, sub_model: ObjectKey, manifest: Manifest, *, is_gone: bool) -> ObjectKey | None:
        name = ((manifest.get("spec") or {}).get("poolRef") or {}).get("name", "")
        if is_gone or not name:
            known = self._pools.pop(sub_model, None)
            return ObjectKey(sub_model.namespace, name) if name else known
        self._pools[sub_model] = ObjectKey(sub_model.namespace, name)
        return self._pools[sub_model]

    def _by_owner(self, namespace: str, manifest: Manifest) -> ObjectKey | None:
        for reference in manifest["metadata"].get("ownerReferences") or ():
            owner = ObjectKey(namespace, str(reference["name"]))
            if reference["kind"] == MODEL_POOL.name:
                return owner
            if reference["kind"] == SUB_MODEL.name and owner in self._pools:
                return self._pools[owner]
        return None
