"""Who is a member of a pool on a cluster, and who is not, and why. One bad sub-model is data: its
neighbours go on."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastserve.api.modelpool import ModelPool, Task
from fastserve.api.submodel import SubModel
from fastserve.api.uris import ALLOWED_FORMS, FILE_SCHEME, plan_source
from fastserve.errors import InvalidSpec
from fastserve.planning.objects.observed import Observed
from fastserve.planning.plan import Rejection
from fastserve.planning.quantities import whole
from fastserve.planning.routes import Accepted

CLUSTER_SCHEMES = ", ".join(scheme for scheme in ALLOWED_FORMS if scheme != "file")
EXAMPLES_MISSING, POOL_NOT_FOUND = "ExamplesMissing", "PoolNotFound"
WAITING_HELPS = (EXAMPLES_MISSING, POOL_NOT_FOUND)
"""Rejections that another object can end without a change of this one."""


@dataclass(frozen=True)
class Membership:
    """Sub-models by name: those that can be served, and why the others cannot."""

    accepted: Mapping[str, Accepted]
    rejected: Mapping[str, Rejection]


def membership(observed: Observed, pool: ModelPool) -> Membership:
    """Judge every sub-model that names the pool and is not being deleted."""
    accepted: dict[str, Accepted] = {}
    rejected: dict[str, Rejection] = {
        name: Rejection(InvalidSpec.reason, fault.field, f"{fault.field}: {fault.message}")
        for name, fault in observed.unreadable.items()
    }
    for name, sub_model in observed.sub_models.items():
        try:
            accepted[name] = _accepted(observed, sub_model, pool.spec.task)
        except _Refused as refused:
            rejected[name] = refused.rejection
        except InvalidSpec as error:
            rejected[name] = Rejection(error.reason, error.field, error.message)
    return Membership(accepted, rejected)


def without_pool(observed: Observed) -> dict[str, Rejection]:
    """Every sub-model that names a pool which is not there."""
    field, name = "spec.poolRef.name", observed.key.name
    message = f"{field}: there is no ModelPool {name} in this namespace"
    names = [*observed.sub_models, *observed.unreadable]
    return {name: Rejection(POOL_NOT_FOUND, field, message) for name in sorted(names)}


def check_fallback(pool: ModelPool, names: Mapping[str, object]) -> None:
    """Raises InvalidSpec where the pool's fallback is none of its sub-models."""
    fallback = pool.spec.selection.fallback.sub_model
    if fallback is not None and fallback not in names:
        raise InvalidSpec(
            "spec.selection.fallback.subModel",
            f"{fallback} is no sub-model of this pool",
            ", ".join(sorted(names)),
        )


class _Refused(Exception):
    def __init__(self, rejection: Rejection) -> None:
        self.rejection = rejection
        super().__init__(rejection.message)


def _accepted(observed: Observed, sub_model: SubModel, task: Task) -> Accepted:
    spec = sub_model.spec
    if spec.model.storage_uri.startswith(FILE_SCHEME):
        raise InvalidSpec("spec.model.storageUri", "file:// is for local mode", CLUSTER_SCHEMES)
    plan_source(spec.model.storage_uri)
    if spec.engine.labels and task is not Task.TEXT_CLASSIFICATION:
        raise InvalidSpec("spec.engine.labels", f"the members of a pool of task {task} have no labels")
    return Accepted(
        sub_model,
        None,
        more_examples=_more_examples(observed, sub_model),
        threads_per_rank=_threads(sub_model),
    )


def _more_examples(observed: Observed, sub_model: SubModel) -> tuple[str, ...]:
    source = sub_model.spec.examples_from
    if source is None:
        return ()
    if source.config_map is None:
        raise InvalidSpec("spec.examplesFrom.storageUri", "file:// is for local mode", "configMap")
    found = observed.examples.get(sub_model.metadata.name)
    if isinstance(found, InvalidSpec):
        raise found
    if found is None:
        field, wanted = "spec.examplesFrom.configMap", source.config_map
        message = f"{field}: there is no ConfigMap {wanted.name} with a key {wanted.key} in this namespace"
        raise _Refused(Rejection(EXAMPLES_MISSING, field, message))
    return found


def _threads(sub_model: SubModel) -> int:
    """CPU threads of one rank: what the container may take, shared among its ranks."""
    resources = sub_model.spec.pod_template.resources
    cpus = resources.limits.get("cpu") or resources.requests.get("cpu") or "1"
    return max(1, whole(cpus) // sub_model.spec.parallelism.tensor)
