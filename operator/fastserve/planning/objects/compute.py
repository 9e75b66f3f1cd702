"""Compute resources of a container, in layers."""

from typing import Final

from fastserve.api.objects import Manifest
from fastserve.api.pods import Resources
from fastserve.api.submodel import SubModelSpec

ROUTER_REQUESTS: Final = Resources(requests={"cpu": "100m", "memory": "192Mi"})
TRITON_REQUESTS: Final = Resources(requests={"cpu": "250m", "memory": "512Mi"})
"""Enough to be scheduled honestly with a small model on the CPU; a larger one's user says more."""


def layered(*layers: Resources) -> Manifest:
    """Of each resource the last layer that names it decides the request and the limit, so that a limit which
    a user sets is never below a request that was set for them."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for layer in layers:
        for name in (*layer.requests, *layer.limits):
            requests.pop(name, None)
            limits.pop(name, None)
        requests.update(layer.requests)
        limits.update(layer.limits)
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def gpus(spec: SubModelSpec) -> Resources:
    """One GPU for each rank. Kubernetes wants the request of an extended resource to equal its limit."""
    if spec.gpu is None:
        return Resources()
    wanted = {spec.gpu.resource_name: str(spec.parallelism.tensor)}
    return Resources(requests=wanted, limits=wanted)
