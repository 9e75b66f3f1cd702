"""Whether a child has to be applied again. Nothing here compares values: the API server fills defaults, and
a comparison with them would differ for ever.

    the digest of what was last applied is another one       -> the plan changed
    a field that the plan sets is not ours in managedFields   -> somebody else changed it, or took it away

Server-side apply moves a field to whoever changes it, so that ownership tells what was touched.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastserve.api.identity import APPLIED_ANNOTATION, FIELD_MANAGER
from fastserve.api.objects import Manifest
from fastserve.planning.objects.owners import owner_of

__all__ = ["needs_apply", "owner_of"]

Fields = Mapping[str, Any]
"""``fieldsV1``: ``f:name`` for fields, ``k:{…}`` for entries of keyed lists, ``v:…`` for those of sets."""
_UNMANAGED = {"apiVersion", "kind"}
_UNMANAGED_METADATA = {"name", "namespace"}


def needs_apply(live: Manifest, wanted: Manifest) -> str:
    """Why `wanted` has to be applied over `live`; empty where it does not."""
    if _digest(live) != _digest(wanted):
        return "what is wanted changed"
    lost = next(_lost(_managed(wanted), owned_fields(live), ()), None)
    return f"{'.'.join(lost)} was changed by somebody else" if lost else ""


def owned_fields(live: Manifest) -> Fields:
    """The fields that our applies set, in all versions of the API together."""
    owned: dict[str, Any] = {}
    for entry in _applied(live):
        owned = _merged(owned, entry.get("fieldsV1") or {})
    return owned


def applied_at(live: Manifest) -> str:
    """When an apply of ours last changed it (RFC 3339); empty where none did."""
    return max((str(entry.get("time", "")) for entry in _applied(live)), default="")


def _applied(live: Manifest) -> Iterator[Mapping[str, Any]]:
    for entry in live["metadata"].get("managedFields") or ():
        ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            yield entry


def _merged(one: Fields, other: Fields) -> dict[str, Any]:
    both = dict(one)
    for key, value in other.items():
        both[key] = _merged(both[key], value) if key in both else value
    return both


def _digest(manifest: Manifest) -> str | None:
    annotations = manifest["metadata"].get("annotations") or {}
    digest: str | None = annotations.get(APPLIED_ANNOTATION)
    return digest


def _managed(wanted: Manifest) -> Manifest:
    """`wanted` without what identifies it: nobody manages that."""
    managed = {key: value for key, value in wanted.items() if key not in _UNMANAGED}
    metadata = {k: v for k, v in wanted["metadata"].items() if k not in _UNMANAGED_METADATA}
    return {**managed, "metadata": metadata or None}


def _lost(value: Any, owned: Fields, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of `value` that `owned` does not have. An empty `owned` is a leaf: all below is ours."""
    if not owned and path:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lost_field(key, inner, owned, path)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _lost_item(item, owned, path)


def _lost_field(key: str, inner: Any, owned: Fields, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if inner is None or inner == []:  # of an empty list there is nothing that anybody could own
        return
    below = owned.get(f"f:{key}")
    if below is None:
        yield (*path, key)
    else:
        yield from _lost(inner, below, (*path, key))


def _lost_item(item: Any, owned: Fields, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(item, Mapping):
        if f"v:{json.dumps(item)}" not in owned:
            yield (*path, str(item))
        return
    for key, below in owned.items():
        if key.startswith("k:") and _matches(json.loads(key[2:]), item):
            yield from _lost(item, below, path)
            return
    yield (*path, str(item.get("name", "item")))


def _matches(key: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """A key field that the item leaves out was filled with its default."""
    return all(item.get(name, value) == value for name, value in key.items())
