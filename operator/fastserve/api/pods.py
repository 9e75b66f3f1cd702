"""What users may say about the pods that FastServe makes: the field names of a pod's own spec."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from fastserve.api.meta import Document, Quantity

LABEL_PREFIX = "fastserve.io/"
"""Labels and annotations under this prefix, and under app.kubernetes.io/, are FastServe's own."""
OWN_PREFIXES = (LABEL_PREFIX, "app.kubernetes.io/")
OWN_ENV_PREFIX = "FASTSERVE_"
OWN_ENV = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HOME", "TMPDIR")
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

Raw = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""An object that is handed to Kubernetes as it is; Kubernetes judges it."""
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=_SUBDOMAIN)]


class LocalReference(Document):
    """An object in the same namespace."""

    name: ObjectName
    """Name of the object."""


class Resources(Document):
    """Compute resources of a container, by resource name. GPUs are asked for in spec.gpu."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What the scheduler sets aside, for example cpu and memory."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What the container may take at most."""


class KeyReference(Document):
    """One key of a Secret or ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key in it."""


class EnvSource(Document):
    """Where the value of an environment variable comes from; exactly one of the two."""

    secret_key_ref: KeyReference | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyReference | None = None
    """A key of a ConfigMap."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "EnvSource":
        if (self.secret_key_ref is None) == (self.config_map_key_ref is None):
            raise ValueError("exactly one of secretKeyRef and configMapKeyRef is required")
        return self


class EnvVar(Document):
    """One environment variable of the engine's container."""

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable; names that begin with FASTSERVE_ are taken."""
    value: Annotated[str, Field(max_length=4096)] = ""
    """Its value."""
    value_from: EnvSource | None = None
    """Where the value comes from instead."""

    @model_validator(mode="after")
    def _one_value(self) -> "EnvVar":
        if self.value and self.value_from is not None:
            raise ValueError("value and valueFrom exclude each other")
        if self.name.startswith(OWN_ENV_PREFIX) or self.name in OWN_ENV:
            raise ValueError(f"name {self.name} is set by FastServe")
        return self


class Toleration(Document):
    """A taint that the pods tolerate, as in a pod's spec."""

    key: Annotated[str, Field(max_length=316)] = ""
    """Key of the taint; empty with operator Exists means all."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists or Equal."""
    value: Annotated[str, Field(max_length=63)] = ""
    """Value of the taint, with operator Equal."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """NoSchedule, PreferNoSchedule, NoExecute, or empty for all."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a NoExecute taint is tolerated."""


def _list_of(limit: int) -> Any:
    return Field(max_length=limit, json_schema_extra={"x-kubernetes-list-type": "atomic"})


def _map_by_name(limit: int) -> Any:
    return Field(
        max_length=limit,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class PodTemplate(Document):
    """What is passed on to the pods as it is. Changing it replaces the pods."""

    labels: Annotated[dict[str, str], Field(max_length=32)] = Field(default_factory=dict)
    """More labels for the pods; those under fastserve.io/ and app.kubernetes.io/ are taken."""
    annotations: Annotated[dict[str, str], Field(max_length=32)] = Field(default_factory=dict)
    """More annotations for the pods; those under fastserve.io/ and app.kubernetes.io/ are taken."""
    node_selector: Annotated[dict[str, str], Field(max_length=32)] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], _list_of(32)] = ()
    """Taints that the pods tolerate."""
    affinity: Raw | None = None
    """Affinity of the pods, as in a pod's spec; joined with what spec.gpu asks of the node."""
    topology_spread_constraints: Annotated[tuple[Raw, ...], _list_of(16)] = ()
    """How the pods spread, as in a pod's spec."""
    priority_class_name: Annotated[str, Field(max_length=253)] = ""
    """Priority class of the pods."""
    runtime_class_name: Annotated[str, Field(max_length=253)] = ""
    """Runtime class of the pods, for example nvidia."""
    scheduler_name: Annotated[str, Field(max_length=253)] = ""
    """Scheduler of the pods, where it is not the default one."""
    service_account_name: Annotated[str, Field(max_length=253)] = ""
    """Service account of the pods instead of the pool's own. It must be given the pool's role
    <pool>-p-router."""
    image_pull_secrets: Annotated[tuple[LocalReference, ...], _map_by_name(16)] = ()
    """Secrets for pulling images."""
    resources: Resources = Field(default_factory=Resources)
    """CPU, memory and others of the main container: the engine's, or a stand-by router's."""
    env: Annotated[tuple[EnvVar, ...], _map_by_name(64)] = ()
    """Environment variables of the main container."""

    @model_validator(mode="after")
    def _names_each_once(self) -> "PodTemplate":
        for field, entries in (("env", self.env), ("imagePullSecrets", self.image_pull_secrets)):
            names = [entry.name for entry in entries]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{field}: {name} stands there twice")
        return self

    @model_validator(mode="after")
    def _leaves_own_keys_alone(self) -> "PodTemplate":
        for field in ("labels", "annotations"):
            for key in getattr(self, field):
                if key.startswith(OWN_PREFIXES):
                    raise ValueError(f"{field}: {key} is set by FastServe")
        return self
