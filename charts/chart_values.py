"""The values of the chart `fastserve`: one model, from which values.yaml, values.schema.json and the README's
table are generated (charts/chart_files.py). Every default is said here and nowhere else."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

Free = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]
"""An object that is handed to Kubernetes as it is."""
FreeList = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "object"}})]
Strings = dict[str, str]
_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
Namespace = Annotated[str, Field(pattern=_LABEL, max_length=63)]
OptionalNamespace = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$", max_length=63)]
Digest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Path = Annotated[str, Field(pattern=r"^/")]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class Block(BaseModel):
    """Base of all blocks: camelCase in YAML, nothing unknown, described by docstrings."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, extra="forbid", use_attribute_docstrings=True
    )


def _draft_7(schema: dict[str, Any]) -> None:
    """Helm 3 before 3.18 knows no later draft."""
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"


def _shared() -> Any:
    """What Helm adds to every chart's values; ours read none of it, so that it is in the schemas alone."""
    return Field(default_factory=dict, alias="global", exclude=True, description="Shared between charts.")


class CrdValues(Block):
    """All values of the chart `fastserve-crds`; where that is a part of `fastserve`, under `crds`."""

    model_config = ConfigDict(json_schema_extra=_draft_7)

    enabled: bool = True
    """Install the definitions. In a chart around this one: turn off where fastserve-crds is a release of its
    own, or where crds/ was applied."""
    keep: bool = True
    """Leave the definitions, and with them all pools, when the release is uninstalled."""
    annotations: Strings = Field(default_factory=dict)
    """Annotations of the definitions, for example a sync wave."""
    labels: Strings = Field(default_factory=dict)
    """Labels of the definitions."""
    global_: Free = _shared()


class Image(Block):
    """One image. A digest wins over a tag."""

    repository: Name
    """Name below `images.registry`."""
    tag: str = ""
    """Tag; empty means the chart's appVersion."""
    digest: Digest = ""
    """Digest, `sha256:…`, instead of the tag."""


def _image(repository: str) -> Any:
    return Field(default_factory=lambda: Image(repository=repository))


class Images(Block):
    """The three images. `localhost` means images that the nodes hold already."""

    registry: str = "localhost"
    """Registry, and path in it, of all three; empty where the repositories are whole references."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Pull policy of the operator's pods and of all pods of pools."""
    operator: Image = _image("fastserve-operator")
    """The operator."""
    router: Image = _image("fastserve-router")
    """The router beside each Triton."""
    triton: Image = _image("fastserve-triton")
    """Triton and the engine."""


class SecretName(Block):
    """A Secret by its name."""

    name: Name
    """Name of the Secret."""


class ServiceAccount(Block):
    """The operator's own account."""

    create: bool = True
    """Make it. Turn off to bring one of your own."""
    name: str = ""
    """Its name; empty means the name of the operator's Deployment."""
    annotations: Strings = Field(default_factory=dict)
    """Its annotations."""


class Rbac(Block):
    """What the operator may do, and what people may do with pools."""

    create: bool = True
    """Make the roles and their bindings."""
    aggregate: bool = True
    """Add ModelPools and SubModels to the cluster's own roles admin, edit and view."""
    finalizers: bool = False
    """Let the operator update `finalizers` of pools: needed where the admission plug-in
    OwnerReferencesPermissionEnforcement is on (OpenShift)."""


class DisruptionBudget(Block):
    """PodDisruptionBudget of the operator."""

    enabled: bool = True
    """Make it; it does so only with two replicas or more."""


class NetworkPolicy(Block):
    """Who may reach what; needs a network plug-in that knows NetworkPolicies."""

    enabled: bool = True
    """Close the operator's port to all but Prometheus."""
    pools: bool = True
    """Make a NetworkPolicy for each pool: its data port open, its routers' admin port for the operator,
    Prometheus and each other, Triton for nobody."""
    prometheus_namespace: OptionalNamespace = ""
    """Namespace of Prometheus; empty means pods labelled `app.kubernetes.io/name: prometheus` in any."""


class ApiWrites(Block):
    """How fast the operator writes."""

    per_second: Annotated[int, Field(ge=1, le=1000000)] = 20
    """Writes to the API server a second, for long."""
    burst: Annotated[int, Field(ge=1, le=1000000)] = 40
    """Writes at once."""


class Monitor(Block):
    """A ServiceMonitor or PodMonitor of the Prometheus operator."""

    enabled: bool = False
    """Make it."""
    labels: Strings = Field(default_factory=dict)
    """Labels by which your Prometheus finds it."""
    interval: Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m|h)$")] = "30s"
    """Time between two scrapes."""


class Metrics(Block):
    """Metrics for the Prometheus operator."""

    service_monitor: Monitor = Field(default_factory=Monitor)
    """Scrapes the operator."""
    pod_monitor: Monitor = Field(default_factory=Monitor)
    """Scrapes the routers of all pools."""


class ParentRef(Block):
    """A Gateway that an HTTPRoute is attached to."""

    name: Name
    """Name of the Gateway."""
    namespace: OptionalNamespace = ""
    """Its namespace; empty means the pool's."""
    section_name: str = ""
    """One listener of it."""


class Exposure(Block):
    """A door from outside to one pool. Only its data port is reached."""

    pool: Annotated[str, Field(pattern=_LABEL, max_length=40)]
    """Name of the ModelPool."""
    namespace: OptionalNamespace = ""
    """Its namespace; empty means the release's."""
    type: Literal["Ingress", "HTTPRoute"] = "Ingress"
    """What to make."""
    host: Name
    """Host name that leads to the pool."""
    path: Path = "/"
    """Path prefix that leads to the pool; the pool sees it too."""
    annotations: Strings = Field(default_factory=dict)
    """Annotations of the Ingress or HTTPRoute."""
    class_name: str = ""
    """Ingress: its class; empty means the cluster's default."""
    tls_secret: str = ""
    """Ingress: Secret with the host's certificate."""
    parent_refs: list[ParentRef] = Field(default_factory=list)
    """HTTPRoute: the Gateways it is attached to."""


def _default_resources() -> dict[str, Any]:
    return {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


class Values(Block):
    """All values of the chart."""

    model_config = ConfigDict(json_schema_extra=_draft_7)

    name_override: Annotated[str, Field(max_length=40)] = ""
    """Name of the chart in labels, instead of `fastserve`."""
    fullname_override: Annotated[str, Field(max_length=40)] = ""
    """Beginning of all names, instead of the release's."""
    common_labels: Strings = Field(default_factory=dict)
    """Labels of every object of the chart."""
    common_annotations: Strings = Field(default_factory=dict)
    """Annotations of every object of the chart, for example a sync wave."""
    crds: CrdValues = Field(default_factory=CrdValues)
    """The CustomResourceDefinitions."""
    images: Images = Field(default_factory=Images)
    """The three images."""
    image_pull_secrets: list[SecretName] = Field(default_factory=list)
    """Secrets to pull images with. Pods of pools name them too; there must be Secrets of these names in the
    pools' namespaces."""
    watch_namespaces: list[Namespace] = Field(default_factory=list)
    """Namespaces whose pools the operator serves; then it gets Roles there instead of a ClusterRole. Empty
    means all."""
    cluster_domain: Name = "cluster.local"
    """The cluster's DNS domain, for the addresses in statuses."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much the operator logs."""
    api_writes: ApiWrites = Field(default_factory=ApiWrites)
    """How fast the operator writes; reads are not limited."""
    replicas: Annotated[int, Field(ge=0, le=8)] = 2
    """Operators; one of them acts, the others wait for its Lease."""
    resources: Free = Field(default_factory=_default_resources)
    """Resources of the operator's container."""
    priority_class_name: str = ""
    """Priority class of the operator's pods."""
    node_selector: Strings = Field(default_factory=dict)
    """Labels that the operator's nodes must have."""
    tolerations: FreeList = Field(default_factory=list)
    """Taints that the operator's pods tolerate."""
    affinity: Free = Field(default_factory=dict)
    """Affinity of the operator's pods; empty means that they prefer different nodes."""
    topology_spread_constraints: FreeList = Field(default_factory=list)
    """How the operator's pods spread."""
    pod_labels: Strings = Field(default_factory=dict)
    """More labels of the operator's pods."""
    pod_annotations: Strings = Field(default_factory=dict)
    """More annotations of the operator's pods."""
    service_account: ServiceAccount = Field(default_factory=ServiceAccount)
    """The operator's own account."""
    rbac: Rbac = Field(default_factory=Rbac)
    """Permissions."""
    pod_disruption_budget: DisruptionBudget = Field(default_factory=DisruptionBudget)
    """PodDisruptionBudget of the operator."""
    network_policy: NetworkPolicy = Field(default_factory=NetworkPolicy)
    """Who may reach what."""
    metrics: Metrics = Field(default_factory=Metrics)
    """Metrics for the Prometheus operator."""
    expose: list[Exposure] = Field(default_factory=list)
    """Doors from outside: an Ingress or HTTPRoute for each, beside its pool."""
    extra_objects: FreeList = Field(default_factory=list)
    """More objects to install with the release; text in them is rendered as a template."""
    global_: Free = _shared()
