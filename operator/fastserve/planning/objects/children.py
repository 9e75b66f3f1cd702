"""The children of a pool and its sub-models that were observed, seen as what they are to their owners."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from fastserve.api.identity import REVISION_LABEL
from fastserve.api.objects import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, Kind, Manifest
from fastserve.api.routes import RouteTable
from fastserve.planning.objects.drift import owned_fields
from fastserve.planning.objects.naming import routes_of_pool
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import Owner, is_leaving, owner_of, uid_of
from fastserve.planning.objects.pool_objects import ROUTES_ENTRY


@dataclass(frozen=True)
class Child:
    """One observed object that a ModelPool or SubModel controls."""

    kind: Kind
    manifest: Manifest
    owner: Owner

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def revision(self) -> str:
        return revision_label(self.manifest)


def revision_label(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def children_of(observed: Observed) -> Iterator[Child]:
    """Every observed object that a ModelPool or SubModel controls, whichever it is."""
    for kind, objects in observed.children.items():
        for manifest in objects.values():
            owner = owner_of(manifest)
            if owner is not None:
                yield Child(kind, manifest, owner)


def owned_by(observed: Observed, kind: Kind, uid: str) -> dict[str, Manifest]:
    """Objects of a kind that bear a revision and that the owner with this uid controls, by revision."""
    return {
        revision: manifest
        for one, manifest in (observed.by_owner.get(uid, ()) if uid else ())
        if one == kind and (revision := revision_label(manifest))
    }


def deployments_of(observed: Observed, uid: str) -> dict[str, Manifest]:
    return owned_by(observed, DEPLOYMENT, uid)


def revisions_of(observed: Observed, uid: str) -> dict[str, Manifest]:
    staying = owned_by(observed, CONTROLLER_REVISION, uid)
    return {revision: kept for revision, kept in staying.items() if not is_leaving(kept)}


def numbers_of(revisions: Mapping[str, Manifest]) -> dict[str, int]:
    return {revision: int(kept.get("revision", 0)) for revision, kept in revisions.items()}


def table_of(observed: Observed) -> RouteTable | None:
    """The route table that routers have now, or None where there is none that only we wrote."""
    live = observed.child(CONFIG_MAP, routes_of_pool(observed.key.name))
    owner = owner_of(live) if live else None
    if live is None or owner is None or owner.uid != uid_of(observed.pool_manifest):
        return None
    if f"f:{ROUTES_ENTRY}" not in owned_fields(live).get("f:data", {}):
        return None
    try:
        return RouteTable.model_validate_json((live.get("data") or {}).get(ROUTES_ENTRY, ""))
    except ValidationError:
        return None
