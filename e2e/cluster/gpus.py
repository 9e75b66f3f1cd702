"""GPUs that are not there: the scheduler and the kubelet count them all the same.

A device plugin would tell the kubelet, and GPU feature discovery would label the node; here both are
written by hand. A kubelet that starts sets such resources to zero, so they are written after each start.
"""

import json
from typing import Any

from cluster.api import Api

RESOURCE = "nvidia.com/gpu"
COUNT = 4
LABELS = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/gpu.count": str(COUNT),
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.family": "hopper",
    "nvidia.com/gpu.machine": "FastServe-e2e",
    "nvidia.com/gpu.compute.major": "9",
    "nvidia.com/gpu.compute.minor": "0",
    "nvidia.com/mig.capable": "true",
    "nvidia.com/mig.strategy": "none",
}


def advertised(node: dict[str, Any]) -> bool:
    """Whether a Node object has the GPUs and the labels."""
    status, labels = node.get("status", {}), node["metadata"].get("labels", {})
    counts = {status.get(field, {}).get(RESOURCE) for field in ("capacity", "allocatable")}
    return counts == {str(COUNT)} and LABELS.items() <= labels.items()


def advertise(api: Api, name: str) -> None:
    api.call("label", "node", name, "--overwrite", *(f"{key}={value}" for key, value in LABELS.items()))
    api.call("patch", "node", name, "--subresource=status", "--type=json", f"--patch={json.dumps(patch())}")


def patch() -> list[dict[str, str]]:
    """A JSON patch of a Node's status; a slash inside a name is written ~1."""
    escaped = RESOURCE.replace("/", "~1")
    return [
        {"op": "add", "path": f"/status/{field}/{escaped}", "value": str(COUNT)}
        for field in ("capacity", "allocatable")
    ]
