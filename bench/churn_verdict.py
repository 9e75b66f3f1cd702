"""What became of a pool after all that was done to it: against the same life without faults, and against what
the plan says. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from churn_sequences import Life
from fastserve.api.identity import APPLIED_ANNOTATION
from fastserve.api.objects import CONTROLLER_REVISION, DEPLOYMENT, Kind, Manifest
from fastserve.planning.objects.decision import ObjectPlan

Named = tuple[Kind, str]
FILLED = ("clusterIP", "clusterIPs", "revision")
"""Of specs: what the API server draws; and the number of a ControllerRevision, which counts what was seen."""


@dataclass(frozen=True)
class Ending:
    """What is there: `children` all objects with the pool's label, `owners` the user's pool and sub-models,
    `strangers` what was somebody else's, by name; `plan` what the plan would do about it."""

    children: Mapping[Named, Manifest]
    owners: Mapping[Named, Manifest]
    strangers: Mapping[Named, Manifest | None]
    plan: ObjectPlan


@dataclass(frozen=True)
class Verdict:
    """Empty tuples all through: it converged, nothing leaked, nothing was wrongly deleted."""

    different: tuple[str, ...]
    """Children that are not as they are without faults, and what the plan would still do."""
    untold: tuple[str, ...]
    """Pools and sub-models whose status does not speak of the current generation."""
    leaked: tuple[str, ...]
    """Children that nobody wants or owns."""
    deleted: tuple[str, ...]
    """Children, users' objects and strangers' objects that should be there and are not the same."""

    @property
    def converged(self) -> bool:
        return not (self.different or self.untold or self.leaked or self.deleted)


def verdict(life: Life, seen: Ending, calm: Ending, before: Mapping[Named, Manifest]) -> Verdict:
    """Judge `seen`; `calm` is the same life's end without faults, `before` the strangers at first."""
    mine, theirs = _current(seen), _current(calm)
    return Verdict(
        different=tuple(sorted([*_different(mine, theirs), *_still_to_do(seen)])),
        untold=tuple(sorted(_untold(seen))),
        leaked=tuple(sorted({*_leaked(seen), *(_word(one) for one in mine.keys() - theirs.keys())})),
        deleted=tuple(
            sorted(
                [
                    *(_word(one) for one in theirs.keys() - mine.keys()),
                    *(_word(one) for one in life.end.keys() - seen.owners.keys()),
                    *_hurt(seen, before),
                ]
            )
        ),
    )


def _current(ending: Ending) -> dict[Named, Manifest]:
    """Children without strangers' and without the revision before the current one, which is kept for undoing
    and depends on what was seen of the way."""
    workloads = {name for kind, name in ending.children if kind == DEPLOYMENT}
    return {
        (kind, name): one
        for (kind, name), one in ending.children.items()
        if (kind, name) not in ending.strangers
        and not (kind == CONTROLLER_REVISION and name not in workloads)
    }


def _different(mine: Mapping[Named, Manifest], theirs: Mapping[Named, Manifest]) -> Iterator[str]:
    for named in mine.keys() & theirs.keys():
        if essence(mine[named]) != essence(theirs[named]):
            yield f"{_word(named)} differs"


def _still_to_do(seen: Ending) -> Iterator[str]:
    for apply in seen.plan.apply:
        if (apply.kind, apply.name) not in seen.strangers:  # that name is taken: it is tried, and refused
            yield f"to apply: {apply.kind.name}/{apply.name}: {apply.because}"
    for delete in seen.plan.delete:
        yield f"to delete: {delete.kind.name}/{delete.name}: {delete.because}"


def _untold(seen: Ending) -> Iterator[str]:
    for named, manifest in seen.owners.items():
        told = (manifest.get("status") or {}).get("observedGeneration")
        if told != manifest["metadata"]["generation"]:
            yield f"{_word(named)} tells of {told}, is at {manifest['metadata']['generation']}"


def _leaked(seen: Ending) -> Iterator[str]:
    alive = {one["metadata"]["uid"] for one in seen.owners.values()}
    for named, manifest in seen.children.items():
        owners = [one["uid"] for one in manifest["metadata"].get("ownerReferences") or ()]
        if named not in seen.strangers and not (owners and set(owners) <= alive):
            yield _word(named)


def _hurt(seen: Ending, before: Mapping[Named, Manifest]) -> Iterator[str]:
    for named, manifest in before.items():
        now = seen.strangers.get(named)
        if (
            now is None
            or now["metadata"]["uid"] != manifest["metadata"]["uid"]
            or essence(now) != essence(manifest)
        ):
            yield f"{_word(named)} of somebody else"


def essence(manifest: Manifest) -> Manifest:
    """What an object is, without what differs between two lives of the same: names of namespaces and of
    owners are what they are called, uids are left out."""
    metadata = manifest["metadata"]
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key != APPLIED_ANNOTATION and not key.startswith("deployment.kubernetes.io/")
    }
    rest = {
        key: value
        for key, value in manifest.items()
        if key not in {"metadata", "status", "kind", "apiVersion"}
    }
    found: Manifest = _plain(rest, str(metadata["namespace"]))
    return {
        **found,
        "labels": metadata.get("labels") or {},
        "annotations": annotations,
        "owners": [(one["kind"], one["name"]) for one in metadata.get("ownerReferences") or ()],
    }


def _plain(value: object, namespace: str) -> Manifest:
    """`value` with its namespace called by no name, and without what the API server draws."""
    if isinstance(value, dict):
        return {key: _plain(inner, namespace) for key, inner in value.items() if key not in FILLED}
    if isinstance(value, list):
        return [_plain(inner, namespace) for inner in value]  # type: ignore[return-value]
    return value.replace(namespace, "NAMESPACE") if isinstance(value, str) else value  # type: ignore[return-value]


def _word(named: Named) -> str:
    return f"{named[0].name}/{named[1]}"
