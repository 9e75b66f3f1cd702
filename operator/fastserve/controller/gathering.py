"""Reads everything about one pool key, live and at once."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fastserve.api.identity import POOL_LABEL
from fastserve.api.objects import (
    CHILD_KINDS,
    CONFIG_MAP,
    LEASE,
    MODEL_POOL,
    POD,
    SUB_MODEL,
    Kind,
    Manifest,
    ObjectKey,
)
from fastserve.api.state import RouterState
from fastserve.cluster.port import Reads, Selector
from fastserve.errors import NotFound
from fastserve.planning.objects.reading import Raw, example_maps


class States(Protocol):
    """What routers say of themselves, by pod uid; raises nothing."""

    async def states(self, pods: Sequence[Manifest]) -> dict[str, RouterState]: ...


async def gather(cluster: Reads, routers: States, key: ObjectKey) -> Raw:
    """What is so. Raises ClusterError where any of it could not be read: half a picture is none.

    The pool is looked for by a list, because a list of an unknown kind fails (the definitions were taken
    away), while a get of it looks like a pool that is gone.
    """
    by_pool = Selector(labels={POOL_LABEL: key.name})
    pools, sub_models, pods, *children = await asyncio.gather(
        cluster.list_of(MODEL_POOL, key.namespace, Selector(fields={"metadata.name": key.name})),
        cluster.list_of(SUB_MODEL, key.namespace, Selector(fields={"spec.poolRef.name": key.name})),
        cluster.list_of(POD, key.namespace, by_pool),
        *(cluster.list_of(kind, key.namespace, by_pool) for kind in CHILD_KINDS),
    )
    states, config_maps = await asyncio.gather(
        routers.states(pods), _config_maps(cluster, key.namespace, example_maps(sub_models))
    )
    return Raw(
        key=key,
        pool=pools[0] if pools else None,
        sub_models=sub_models,
        children=dict(zip(CHILD_KINDS, children, strict=True)),
        pods=pods,
        states=states,
        config_maps=config_maps,
    )


def is_nothing(raw: Raw) -> bool:
    """Whether nothing is left that anybody should look at. A Lease is left to the garbage collector, of whose
    work on it nobody would hear."""
    children = [objects for kind, objects in raw.children.items() if kind != LEASE]
    return raw.pool is None and not (raw.sub_models or raw.pods or any(children))


async def _config_maps(cluster: Reads, namespace: str, names: Sequence[str]) -> dict[str, Manifest]:
    keys = [ObjectKey(namespace, name) for name in names]
    found = await asyncio.gather(*(_or_none(cluster, CONFIG_MAP, key) for key in keys))
    return {name: manifest for name, manifest in zip(names, found, strict=True) if manifest is not None}


async def _or_none(cluster: Reads, kind: Kind, key: ObjectKey) -> Manifest | None:
    try:
        return await cluster.get(kind, key)
    except NotFound:
        return None
