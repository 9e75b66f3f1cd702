"""The route table of a pool: who its members are, what they are about, what their pods are to load."""

from collections.abc import Iterable
from dataclasses import dataclass

from fastserve.api.access import key_digest, state_key
from fastserve.api.identity import digest_of, triton_model_name
from fastserve.api.modelpool import ModelPool, Router, Task
from fastserve.api.routes import (
    MAX_TABLE_BYTES,
    EngineTarget,
    Meaning,
    Member,
    Resilience,
    RouteTable,
    TableAccess,
    Target,
)
from fastserve.api.scaling import Staff
from fastserve.api.submodel import Delivery, EngineType, SubModel
from fastserve.api.uris import plan_source
from fastserve.errors import InvalidSpec
from fastserve.planning.facts import CheckpointFacts, EngineHome
from fastserve.planning.quantities import whole
from fastserve.planning.sharding import wanted_devices
from fastserve.planning.triton import model_files

BATCHES_IN_TRITON = 2
"""Batches' worth of requests that a router keeps in its Triton: one is computed, the next one gathers."""


@dataclass(frozen=True)
class Accepted:
    """A sub-model that can be served. `checkpoint` is None on a cluster, where only the pod that fetches
    the weights sees them. `examples_digest` identifies the file of ``examplesFrom``; `more_examples` are
    the texts of its ConfigMap. `threads_per_rank` is for this member alone, where it is not the plan's."""

    sub_model: SubModel
    checkpoint: CheckpointFacts | None
    examples_digest: str = ""
    more_examples: tuple[str, ...] = ()
    threads_per_rank: int | None = None


@dataclass(frozen=True)
class EngineSetting:
    """What all engines of a plan share."""

    home: EngineHome
    threads_per_rank: int


def route_table(pool: ModelPool, members: Iterable[Member], state_seed: bytes = b"") -> RouteTable:
    """The table, members by name. With `state_seed` routers that ask for keys know the key that is made of it
    (api/access.py)."""
    spec = pool.spec
    return RouteTable(
        pool=pool.metadata.name,
        generation=pool.metadata.generation,
        task=spec.task,
        selection=spec.selection,
        method=spec.method,
        deadline_millis=spec.combination.deadline_millis,
        min_members=spec.combination.min_members,
        limits=spec.router.limits,
        tenants=spec.router.tenants,
        resilience=_resilience(spec.router),
        access=_access(pool, state_seed),
        tracing=spec.router.tracing,
        scaling=spec.scaling,
        monitoring=spec.monitoring,
        members=tuple(sorted(members, key=lambda member: member.name)),
    )


def _resilience(router: Router) -> Resilience:
    return Resilience(retries=router.retries, hedging=router.hedging, ejection=router.ejection)


def _access(pool: ModelPool, state_seed: bytes) -> TableAccess:
    router = pool.spec.router
    if router.auth is None or not state_seed:
        return TableAccess(audit=router.audit)
    key = state_key(state_seed, f"{pool.metadata.namespace}/{pool.metadata.name}")
    return TableAccess(audit=router.audit, operator_digest=key_digest(key.encode()))


def check_size(table: RouteTable) -> None:
    """Raises InvalidSpec where a table of what the specs say is larger than its carrier takes."""
    size = len(table.model_dump_json().encode())
    if size > MAX_TABLE_BYTES:
        raise InvalidSpec(
            "spec.examples",
            f"the route table of pool {table.pool} takes {size // 1024} KiB; give its sub-models fewer or"
            " shorter examples (in local mode those in files, examplesFrom.storageUri, do not count)",
            f"at most {MAX_TABLE_BYTES // 1024} KiB",
        )


def member_of(one: Accepted, task: Task, setting: EngineSetting, staff: Staff | None = None) -> Member:
    """One member as routers see it; `staff` where it is scaled."""
    spec = one.sub_model.spec
    return Member(
        name=one.sub_model.metadata.name,
        description=spec.description,
        meaning=_meaning(one),
        target=_target(one, task, setting),
        max_concurrency=BATCHES_IN_TRITON * spec.engine.max_batch_size,
        generation=one.sub_model.metadata.generation,
        asked=_asked(one.sub_model),
        staff=staff,
    )


def _asked(sub_model: SubModel) -> str:
    """Identity of the spec but for how many replicas there are. Without defaults: a newer FastServe with one
    more field asks for nothing new."""
    spec = sub_model.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return digest_of({key: value for key, value in spec.items() if key not in ("replicas", "autoscaling")})


def _meaning(one: Accepted) -> Meaning:
    spec = one.sub_model.spec
    uri = (spec.examples_from.storage_uri or "") if spec.examples_from else ""
    examples = (*spec.examples, *one.more_examples)
    identity = {"examples": examples, "from": one.examples_digest or uri}
    return Meaning(examples=examples, storage_uri=uri, digest=digest_of(identity))


def _target(one: Accepted, task: Task, setting: EngineSetting) -> Target:
    spec, name = one.sub_model.spec, one.sub_model.metadata.name
    digest, custom = version_digest(one, task), spec.engine.type is EngineType.CUSTOM
    return Target(
        digest=digest,
        model_name=triton_model_name(name, digest),
        version=_version(one),
        storage_uri=spec.model.storage_uri,
        expected_digest=spec.model.digest,
        max_bytes=None if one.checkpoint else whole(spec.model.size_limit),
        image=image_of(one.sub_model),
        custom=custom,
        labels=spec.engine.labels,
        files={} if custom else model_files(setting.home, spec, task),
        engine=EngineTarget(
            devices=wanted_devices(spec),
            python=setting.home.python,
            allow_cpu=spec.engine.allow_cpu,
            max_tokens=spec.engine.max_tokens,
            threads_per_rank=one.threads_per_rank or setting.threads_per_rank,
        ),
    )


def image_of(sub_model: SubModel) -> str:
    """The image that is to be a volume of the pods; empty where the model does not come so."""
    model = sub_model.spec.model
    return plan_source(model.storage_uri).image if model.delivery is Delivery.IMAGE_VOLUME else ""


def _version(one: Accepted) -> str:
    """The user's name for the weights, or the artefact's own digest where it could be read."""
    return one.sub_model.spec.model.version or (one.checkpoint.digest if one.checkpoint else "")


def version_digest(one: Accepted, task: Task) -> str:
    """Identity of what a Triton holds. Whatever is in it makes every replica load again when it changes;
    so the threads and the interpreter, which the machine and its neighbours decide, are left out."""
    spec = one.sub_model.spec
    more = {"expected": spec.model.digest, "image": image_of(one.sub_model)}
    return digest_of(
        {
            "storageUri": spec.model.storage_uri,
            "version": _version(one),
            # Without defaults: a newer FastServe with one more field must not make everybody load again.
            "engine": spec.engine.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "devices": wanted_devices(spec),
            "task": task,
            **{name: value for name, value in more.items() if value},
        }
    )
