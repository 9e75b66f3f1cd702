"""From raw objects to what a plan is made of. A document that cannot be read is data, never an error: its
neighbours go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError

from fastserve.api.meta import Document
from fastserve.api.modelpool import ModelPool, ModelPoolStatus
from fastserve.api.objects import Kind, Manifest, ObjectKey
from fastserve.api.schema import Schema, structural_schema
from fastserve.api.state import RouterState
from fastserve.api.submodel import SubModel, SubModelStatus
from fastserve.api.wording import sentence_of
from fastserve.errors import InvalidSpec
from fastserve.planning.objects.example_texts import texts_of
from fastserve.planning.objects.observed import Observed, Unreadable
from fastserve.planning.objects.owners import is_leaving

AnyStatus = TypeVar("AnyStatus", ModelPoolStatus, SubModelStatus)
AnyDocument = TypeVar("AnyDocument", ModelPool, SubModel)


@dataclass(frozen=True)
class Raw:
    """What was read about one pool key. `sub_models` are those that name the pool; `children` and `pods`
    those with its label; `states` what routers said, by pod uid; `config_maps` those of `example_maps`
    that are there, by name."""

    key: ObjectKey
    pool: Manifest | None
    sub_models: Sequence[Manifest] = ()
    children: Mapping[Kind, Sequence[Manifest]] = field(default_factory=dict)
    pods: Sequence[Manifest] = ()
    states: Mapping[str, RouterState] = field(default_factory=dict)
    config_maps: Mapping[str, Manifest] = field(default_factory=dict)


def example_maps(sub_models: Sequence[Manifest]) -> tuple[str, ...]:
    """Names of the ConfigMaps that these sub-models' examplesFrom name."""
    names = set()
    for manifest in sub_models:
        read = _read(manifest, SubModel)
        if isinstance(read, SubModel) and read.spec.examples_from and read.spec.examples_from.config_map:
            names.add(read.spec.examples_from.config_map.name)
    return tuple(sorted(names))


def read_observed(raw: Raw) -> Observed:
    """The frozen snapshot; the order of what was read does not matter."""
    pool = None if raw.pool is None or is_leaving(raw.pool) else _read(raw.pool, ModelPool)
    manifests = _by_name(raw.sub_models)
    read = {name: _read(manifest, SubModel) for name, manifest in manifests.items()}
    staying = {name: one for name, one in read.items() if not is_leaving(manifests[name])}
    sub_models = {name: one for name, one in staying.items() if isinstance(one, SubModel)}
    return Observed(
        key=raw.key,
        pool=pool if isinstance(pool, ModelPool) else None,
        pool_manifest=raw.pool,
        sub_models=sub_models,
        sub_model_manifests=manifests,
        unreadable={name: one for name, one in staying.items() if isinstance(one, Unreadable)},
        pool_fault=pool if isinstance(pool, Unreadable) else None,
        children={kind: _by_name(objects) for kind, objects in raw.children.items()},
        pods=_by_name(raw.pods),
        states=dict(raw.states),
        examples=_examples(sub_models, raw.config_maps),
    )


def read_status(manifest: Manifest | None, model: type[AnyStatus]) -> AnyStatus | None:
    """The status that was last written, or None where there is none that we can read."""
    written = (manifest or {}).get("status")
    if not written:
        return None
    try:
        return model.model_validate(written)
    except ValidationError:
        return None


def _by_name(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in sorted(manifests, key=lambda m: str(m["metadata"]["name"]))}


def _read(manifest: Manifest, model: type[AnyDocument]) -> AnyDocument | Unreadable:
    # The status is read apart: one that a newer operator wrote must not make the spec unreadable.
    written = {key: value for key, value in manifest.items() if key != "status"}
    try:
        return model.model_validate(written)
    except ValidationError as errors:
        first = errors.errors()[0]
        return Unreadable(manifest, _path_of(first["loc"]), sentence_of(first, _schema(model)))


def _path_of(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


@cache
def _schema(model: type[Document]) -> Schema:
    return structural_schema(model)


def _examples(
    sub_models: Mapping[str, SubModel], config_maps: Mapping[str, Manifest]
) -> dict[str, tuple[str, ...] | InvalidSpec | None]:
    found: dict[str, Any] = {}
    for name, sub_model in sub_models.items():
        source = sub_model.spec.examples_from
        if source is not None and source.config_map is not None:
            found[name] = texts_of(config_maps, source.config_map)
    return found
