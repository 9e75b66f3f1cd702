"""What has to be written so that what is observed becomes what is wanted.

Nothing is deleted but what a ModelPool or SubModel of this key controls, by uid. An object whose owner is
gone altogether is left to Kubernetes' garbage collector: labels alone don't tell whose it was.
"""

from collections.abc import Iterator, Sequence

from fastserve.api.objects import CHILD_KINDS, DEPLOYMENT, SUB_MODEL, Kind, Manifest
from fastserve.errors import Foreign
from fastserve.planning.objects.children import Child, children_of, deployments_of
from fastserve.planning.objects.decision import Apply, Delete, WriteFailure
from fastserve.planning.objects.drift import needs_apply
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import (
    Owner,
    controller_of,
    is_leaving,
    leaves_orphans,
    owner_of,
    uid_of,
)
from fastserve.planning.objects.wanting import Wanted, Wish


def applies(observed: Observed, wish: Wish) -> tuple[Apply, ...]:
    """Objects to apply, in the order of their kinds."""
    order = {kind: place for place, kind in enumerate(CHILD_KINDS)}
    made = [one for wanted in wish.wanted if (one := _apply(observed, wanted)) is not None]
    return tuple(sorted(made, key=lambda one: (order[one.kind], one.name)))


def _apply(observed: Observed, wanted: Wanted) -> Apply | None:
    live = observed.child(wanted.kind, wanted.name)
    if live is None:
        return Apply(wanted.kind, wanted.manifest, True, "it is not there", wanted.sub_model)
    if is_leaving(live) or not _has_owner_of(live, wanted.manifest):
        return None
    because = needs_apply(live, wanted.manifest)
    uid = uid_of(live)
    return Apply(wanted.kind, wanted.manifest, False, because, wanted.sub_model, uid) if because else None


def _has_owner_of(live: Manifest, wanted: Manifest) -> bool:
    owner, wants = owner_of(live), owner_of(wanted)
    return owner is not None and wants is not None and owner.uid == wants.uid


def foreign(observed: Observed, wish: Wish) -> tuple[WriteFailure, ...]:
    """Wanted names that are taken by objects which are nobody's of this key."""
    return tuple(
        WriteFailure(
            wanted.kind,
            wanted.name,
            Foreign.reason,
            f"{wanted.kind.name} {wanted.name} is there and is {controller_of(live)}; it is left as it is",
            wanted.sub_model,
            foreign=True,
        )
        for wanted in wish.wanted
        if (live := observed.child(wanted.kind, wanted.name)) is not None
        and not _has_owner_of(live, wanted.manifest)
        and not _former_life(observed, owner_of(live))
    )


def deletes(observed: Observed, wish: Wish, keep_of: frozenset[str]) -> tuple[Delete, ...]:
    """Objects to delete, the last kinds first; those of the sub-models `keep_of` all stay."""
    kept_uids = {uid_of(observed.sub_model_manifests[name]) for name in keep_of}
    wanted = {(one.kind, one.name) for one in wish.wanted} | wish.staying
    order = {kind: place for place, kind in enumerate(CHILD_KINDS)}
    uids = set(_uids(observed))
    gone = [
        Delete(child.kind, child.name, uid_of(child.manifest), because)
        for child in children_of(observed)
        if child.owner.uid not in kept_uids and (because := _why_gone(observed, child, uids, wanted))
    ]
    return tuple(sorted(gone, key=lambda one: (-order[one.kind], one.name)))


def stops(observed: Observed, owners: Sequence[Manifest | None]) -> tuple[Delete, ...]:
    """The Deployments of `owners`, which are suspended, and of which nothing can be planned: no wish of ours
    would bring them to 0. All else of them stays."""
    return tuple(
        Delete(DEPLOYMENT, str(live["metadata"]["name"]), uid_of(live), "it is suspended")
        for owner in owners
        for _, live in sorted(deployments_of(observed, uid_of(owner)).items())
        if not is_leaving(live) and not is_leaving(owner)
    )


def _why_gone(observed: Observed, child: Child, uids: set[str], wanted: set[tuple[Kind, str]]) -> str:
    if is_leaving(child.manifest):
        return ""
    if _former_life(observed, child.owner):
        return f"it belonged to an older {child.owner.kind} {child.owner.name}"
    if child.owner.uid not in uids or (child.kind, child.name) in wanted:
        return ""
    return f"revision {child.revision} has gone" if child.revision else "it is not wanted any more"


def _uids(observed: Observed) -> Iterator[str]:
    """Owners whose objects are ours to delete."""
    for manifest in (observed.pool_manifest, *observed.sub_model_manifests.values()):
        if (uid := uid_of(manifest)) and not leaves_orphans(manifest):
            yield uid


def _former_life(observed: Observed, owner: Owner | None) -> bool:
    """Whether the owner was deleted and another of its name is there: names are unique, so its children
    are surely nobody's."""
    if owner is None:
        return False
    if owner.kind == SUB_MODEL.name:
        now = observed.sub_model_manifests.get(owner.name)
    else:
        now = observed.pool_manifest if owner.name == observed.key.name else None
    return now is not None and uid_of(now) != owner.uid
