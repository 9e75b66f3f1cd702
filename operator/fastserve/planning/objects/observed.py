"""What is so, read in one go: the frozen snapshot that one plan and one status are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fastserve.api.identity import SUBMODEL_LABEL
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import Kind, Manifest, ObjectKey
from fastserve.api.scaling import ScalingState
from fastserve.api.state import RouterState
from fastserve.api.submodel import SubModel
from fastserve.errors import InvalidSpec
from fastserve.planning.objects.owners import owner_of


@dataclass(frozen=True)
class Unreadable:
    """A ModelPool or SubModel that the API server holds and our reading refuses (an older schema let it
    in). `field` is the path in it, `message` the sentence."""

    manifest: Manifest
    field: str
    message: str


@dataclass(frozen=True)
class Observed:
    """Everything about one pool key in one namespace.

    `pool` is None where there is no ModelPool of that name (its sub-models may still be there).
    `pool_manifest` and `sub_model_manifests` are raw, by name; `sub_models` those of them that could be
    read and are not being deleted, `unreadable` those that could not. `children` are raw objects by kind and
    name, found by the pool's label. `pods` are raw pods of the pool by name. `states` are what routers said
    of themselves, by pod uid; a pod that did not answer is not in it. `examples` are texts of ConfigMaps
    that examplesFrom names, by sub-model, None where ConfigMap or key is missing, and InvalidSpec where a
    line cannot be read. A ModelPool that is being deleted is gone: then `pool` is None.
    """

    key: ObjectKey
    pool: ModelPool | None
    pool_manifest: Manifest | None = None
    sub_models: Mapping[str, SubModel] = field(default_factory=dict)
    sub_model_manifests: Mapping[str, Manifest] = field(default_factory=dict)
    unreadable: Mapping[str, Unreadable] = field(default_factory=dict)
    pool_fault: Unreadable | None = None
    children: Mapping[Kind, Mapping[str, Manifest]] = field(default_factory=dict)
    pods: Mapping[str, Manifest] = field(default_factory=dict)
    states: Mapping[str, RouterState] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...] | InvalidSpec | None] = field(default_factory=dict)

    @cached_property
    def by_owner(self) -> Mapping[str, Sequence[tuple[Kind, Manifest]]]:
        """The children that a ModelPool or SubModel controls, by its uid."""
        found: dict[str, list[tuple[Kind, Manifest]]] = {}
        for kind, objects in self.children.items():
            for manifest in objects.values():
                owner = owner_of(manifest)
                if owner is not None:
                    found.setdefault(owner.uid, []).append((kind, manifest))
        return found

    @cached_property
    def pods_by_sub_model(self) -> Mapping[str, Sequence[Manifest]]:
        """The pods by their sub-model's label, in the order of their names; stand-by routers have none."""
        found: dict[str, list[Manifest]] = {}
        for _, pod in sorted(self.pods.items()):
            name = (pod["metadata"].get("labels") or {}).get(SUBMODEL_LABEL, "")
            found.setdefault(name, []).append(pod)
        return found

    @cached_property
    def scaling(self) -> ScalingState | None:
        """What the router says that holds the pool's Lease; of several, as while one takes over from another,
        the one that decided last. None where none was heard."""
        told = [
            (max((one.time for one in state.scaling.decisions), default=""), uid, state.scaling)
            for uid, state in self.states.items()
            if state.scaling is not None and state.scaling.holder
        ]
        return max(told, key=lambda one: one[:2])[2] if told else None

    def child(self, kind: Kind, name: str) -> Manifest | None:
        return self.children.get(kind, {}).get(name)
