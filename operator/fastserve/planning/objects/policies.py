"""Who may reach a pool's pods, and how many of them may be evicted at once."""

from collections.abc import Mapping
from typing import Final

from fastserve.api.identity import ADMIN_PORT, DATA_PORT, POOL_LABEL
from fastserve.api.objects import DISRUPTION_BUDGET, NETWORK_POLICY, Manifest
from fastserve.planning.objects.settings import NetworkSetting

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
"""Set by the API server on every namespace."""
NAME_LABEL: Final = "app.kubernetes.io/name"
PROMETHEUS_NAME: Final = "prometheus"
LEAST_FOR_BUDGET: Final = 2
"""A budget for one pod would either forbid every drain of its node or say nothing."""


def budget(metadata: Manifest, selector: Mapping[str, str], replicas: int) -> Manifest | None:
    """One pod may be evicted at a time, and one that is not ready always; none for a single pod."""
    if replicas < LEAST_FOR_BUDGET:
        return None
    return {
        "apiVersion": DISRUPTION_BUDGET.api_version,
        "kind": DISRUPTION_BUDGET.name,
        "metadata": metadata,
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": dict(selector)},
        },
    }


def router_policy(metadata: Manifest, pool: str, setting: NetworkSetting) -> Manifest:
    """All of a pool's pods: the data port for everybody, the admin port for few, Triton for nobody.

    What the pods themselves may reach is left open: models come from anywhere, and names, the API server and
    the other routers are not told apart by labels.
    """
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.name,
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": {POOL_LABEL: pool}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [_port(DATA_PORT)]},
                {
                    "from": [
                        {"podSelector": {"matchLabels": {POOL_LABEL: pool}}},
                        {"namespaceSelector": _namespace(setting.operator_namespace)},
                        _prometheus(setting.prometheus_namespace),
                    ],
                    "ports": [_port(ADMIN_PORT)],
                },
            ],
        },
    }


def _prometheus(namespace: str) -> Manifest:
    """Prometheus' namespace, or where it is not told, pods with Prometheus' own label anywhere."""
    if namespace:
        return {"namespaceSelector": _namespace(namespace)}
    return {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {NAME_LABEL: PROMETHEUS_NAME}},
    }


def _namespace(name: str) -> Manifest:
    return {"matchLabels": {NAMESPACE_LABEL: name}}


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}
