"""The kinds of objects that the operator reads and writes, and the values that name one object."""

from dataclasses import dataclass
from typing import Any, Final

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API: what paths and manifests call it."""

    api_version: str
    name: str
    plural: str


MODEL_POOL: Final = Kind("fastserve.io/v1alpha1", "ModelPool", "modelpools")
SUB_MODEL: Final = Kind("fastserve.io/v1alpha1", "SubModel", "submodels")
SERVICE_ACCOUNT: Final = Kind("v1", "ServiceAccount", "serviceaccounts")
ROLE: Final = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
SERVICE: Final = Kind("v1", "Service", "services")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
CONTROLLER_REVISION: Final = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
POD: Final = Kind("v1", "Pod", "pods")
EVENT: Final = Kind("events.k8s.io/v1", "Event", "events")

CHILD_KINDS: Final = (
    SERVICE_ACCOUNT, ROLE, ROLE_BINDING, LEASE, CONFIG_MAP, SERVICE, NETWORK_POLICY, DISRUPTION_BUDGET,
    CONTROLLER_REVISION, DEPLOYMENT,
)  # fmt: skip
"""What the operator applies, in the order in which it does."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """One object of a kind that the context tells."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def kind_of(manifest: Manifest) -> Kind:
    """The Kind of a manifest that the operator writes. Raises StopIteration for any other."""
    return next(
        kind
        for kind in CHILD_KINDS
        if (kind.api_version, kind.name) == (manifest["apiVersion"], manifest["kind"])
    )
