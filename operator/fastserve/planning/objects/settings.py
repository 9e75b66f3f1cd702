"""What the operator is told once, at its start, and every plan depends on."""

from dataclasses import dataclass, field
from typing import Literal

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


@dataclass(frozen=True)
class ImageSet:
    """References of the images that pods are made of, as the chart's values name them."""

    router: str
    triton: str
    pull_policy: PullPolicy = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkSetting:
    """Who may reach the admin ports of routers: namespaces of the operator and of Prometheus (empty: pods
    of any namespace with Prometheus' own label), besides routers of the same pool."""

    policies: bool = True
    operator_namespace: str = "fastserve-system"
    prometheus_namespace: str = ""


@dataclass(frozen=True)
class ObjectSettings:
    """Everything that planning Kubernetes objects needs besides what it observes."""

    images: ImageSet
    network: NetworkSetting = field(default_factory=NetworkSetting)
    cluster_domain: str = "cluster.local"
    state_seed: bytes = field(default=b"", repr=False, compare=False)
    """What the keys are made of with which the operator reads the state of routers that ask for keys."""
