"""Whose an object is, by its controller owner reference. The names and labels of an object prove nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastserve.api.identity import GROUP
from fastserve.api.objects import MODEL_POOL, SUB_MODEL, Manifest

OUR_KINDS = (MODEL_POOL.name, SUB_MODEL.name)
ORPHAN = "orphan"
"""The garbage collector's finalizer: it has still to take the owner out of what is owned."""


@dataclass(frozen=True)
class Owner:
    """The controller of an object: a ModelPool or SubModel."""

    kind: str
    name: str
    uid: str


def owner_of(live: Manifest) -> Owner | None:
    """The ModelPool or SubModel that controls `live`, or None where it is nobody's or another's."""
    for reference in live.get("metadata", {}).get("ownerReferences") or ():
        if reference.get("controller") and _is_ours(reference):
            return Owner(reference["kind"], reference["name"], reference["uid"])
    return None


def _is_ours(reference: Mapping[str, Any]) -> bool:
    group = str(reference.get("apiVersion", "")).partition("/")[0]
    return group == GROUP and reference.get("kind") in OUR_KINDS


def controller_of(live: Manifest) -> str:
    """Whose an object is, in words."""
    for reference in live.get("metadata", {}).get("ownerReferences") or ():
        if reference.get("controller"):
            return f"controlled by {reference.get('kind')} {reference.get('name')}"
    return "controlled by nobody"


def uid_of(manifest: Manifest | None) -> str:
    return str(manifest["metadata"].get("uid", "")) if manifest else ""


def is_leaving(manifest: Manifest | None) -> bool:
    """Whether it is being deleted."""
    return bool(manifest and manifest["metadata"].get("deletionTimestamp"))


def asks_for_no_pods(manifest: Manifest | None) -> bool:
    """Whether its spec.suspend is true, whatever else its spec says, and whether or not we can read it."""
    return ((manifest or {}).get("spec") or {}).get("suspend") is True


def leaves_orphans(manifest: Manifest | None) -> bool:
    """Whether it is being deleted with ``--cascade=orphan``: what it owns is to stay, as nobody's."""
    return is_leaving(manifest) and ORPHAN in ((manifest or {})["metadata"].get("finalizers") or ())
