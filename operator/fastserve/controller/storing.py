"""Takes the prototypes that a stand-by router computed into the sub-model's ConfigMap, where every router of
the pool finds them."""

from collections.abc import Iterator
from typing import Protocol

from fastserve.api.identity import ROLE_LABEL
from fastserve.api.objects import CONFIG_MAP, Manifest
from fastserve.api.state import RouterState
from fastserve.planning.objects import naming
from fastserve.planning.objects.decision import Apply, ObjectPlan
from fastserve.planning.objects.drift import owned_fields
from fastserve.planning.objects.member_objects import PROTOTYPES_KEY, PROTOTYPES_ROWS, prototypes_object
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import owner_of, uid_of
from fastserve.planning.objects.ownership import owned


class Rows(Protocol):
    """The prototypes that a router keeps under a key, or None; raises nothing."""

    async def prototypes(self, pod: Manifest, key: str) -> bytes | None: ...


async def prototypes_to_store(observed: Observed, plan: ObjectPlan, routers: Rows) -> tuple[Apply, ...]:
    """What to apply so that the stored prototypes are those of the current table."""
    wanted = []
    for name, key in _keys_to_fetch(observed, plan).items():
        rows = await _fetched(observed, plan, routers, name, key)
        if rows is not None:
            wanted.append(_apply(observed, name, key, rows))
    return tuple(wanted)


def _keys_to_fetch(observed: Observed, plan: ObjectPlan) -> dict[str, str]:
    """By sub-model, the key that stand-by routers with the current table name and the ConfigMap has not."""
    keys = {}
    for _, state in _sources(observed, plan):
        keys.update(state.prototype_keys)
    return {
        name: key
        for name, key in sorted(keys.items())
        if name in plan.revisions and name in observed.sub_models and _stored_key(observed, name) != key
    }


def _sources(observed: Observed, plan: ObjectPlan) -> Iterator[tuple[Manifest, RouterState]]:
    """Stand-by routers that have the current table: others may speak of examples that were."""
    for _, pod in sorted(observed.pods.items()):
        state = observed.states.get(pod["metadata"]["uid"])
        is_standby = (pod["metadata"].get("labels") or {}).get(ROLE_LABEL) == naming.STANDBY
        if state is not None and is_standby and plan.is_read_by(state):
            yield pod, state


def _stored_key(observed: Observed, name: str) -> str:
    """The key of what is stored; empty where nothing is, or where somebody else wrote any of it."""
    live = _stored(observed, name)
    owned = owned_fields(live) if live else {}
    has_key = f"f:{PROTOTYPES_KEY}" in owned.get("f:data", {})
    has_rows = f"f:{PROTOTYPES_ROWS}" in owned.get("f:binaryData", {})
    return str(live["data"][PROTOTYPES_KEY]) if live and has_key and has_rows else ""


def _stored(observed: Observed, name: str) -> Manifest | None:
    """The sub-model's own ConfigMap; one of that name which is another's is none."""
    live = observed.child(CONFIG_MAP, naming.prototypes_of_member(name))
    owner = owner_of(live) if live else None
    return live if owner is not None and owner.uid == uid_of(observed.sub_model_manifests[name]) else None


async def _fetched(observed: Observed, plan: ObjectPlan, routers: Rows, name: str, key: str) -> bytes | None:
    for pod, state in _sources(observed, plan):
        if state.prototype_keys.get(name) == key:
            rows = await routers.prototypes(pod, key)
            if rows:
                return rows
    return None


def _apply(observed: Observed, name: str, key: str, rows: bytes) -> Apply:
    if observed.pool is None:
        raise ValueError("prototypes are stored for a pool that is there")
    manifest = prototypes_object(observed.pool, observed.sub_models[name], key, rows)
    live = _stored(observed, name)
    owner = observed.sub_model_manifests[name]
    because = "prototypes of other examples, or none, are stored"
    return Apply(CONFIG_MAP, owned(manifest, owner), live is None, because, name, uid_of(live))
