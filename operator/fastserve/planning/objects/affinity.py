"""Which nodes a pod may go to: what its user says, and what its GPUs ask for, both at once."""

from collections.abc import Mapping
from typing import Any, Final

from fastserve.api.objects import Manifest
from fastserve.api.submodel import Gpu
from fastserve.planning.quantities import mebibytes

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
"""MiB of one GPU; both labels are set by NVIDIA's GPU feature discovery."""

_NODE, _REQUIRED, _TERMS = (
    "nodeAffinity",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
)


def affinity(written: Mapping[str, Any] | None, gpu: Gpu | None) -> Manifest:
    """The user's affinity joined with what `gpu` asks of the node; empty where nobody asks for anything.

    What is no affinity at all is handed on as it is, for the API server to refuse in its own words.
    """
    asked = gpu_expressions(gpu) if gpu is not None else []
    own = dict(written or {})
    if not asked:
        return own
    node = own.get(_NODE) or {}
    required = (node.get(_REQUIRED) or {}) if isinstance(node, Mapping) else None
    terms = (required.get(_TERMS) or [{"matchExpressions": []}]) if isinstance(required, Mapping) else None
    if not isinstance(terms, list):
        return own
    joined = [_joined(term, asked) for term in terms]
    return {**own, _NODE: {**node, _REQUIRED: {**(required or {}), _TERMS: joined}}}


def gpu_expressions(gpu: Gpu) -> list[Manifest]:
    """The node selector requirements of `gpu`. Kubernetes has no "at least", so memory is "more than" one
    MiB less."""
    expressions: list[Manifest] = []
    if gpu.product:
        expressions.append({"key": PRODUCT_LABEL, "operator": "In", "values": [gpu.product]})
    if gpu.memory is not None:
        least = mebibytes(gpu.memory)
        expressions.append({"key": MEMORY_LABEL, "operator": "Gt", "values": [str(least - 1)]})
    return expressions


def gpu_words(pod_spec: Mapping[str, Any]) -> str:
    """What a pod's GPUs ask of its node, for people; the scheduler says only that no node fits. Empty where
    they ask for nothing."""
    node = (pod_spec.get("affinity") or {}).get(_NODE) or {}
    found: dict[str, None] = {}
    for term in (node.get(_REQUIRED) or {}).get(_TERMS) or ():
        for one in term.get("matchExpressions") or ():
            if one.get("key") in (PRODUCT_LABEL, MEMORY_LABEL):
                above = "above " if one.get("operator") == "Gt" else ""
                found[f"{one['key']} {above}{' or '.join(one.get('values') or ())}"] = None
    return " and ".join(found)


def _joined(term: Any, asked: list[Manifest]) -> Any:
    """Terms are alternatives, so each of them takes what is asked. One that says nothing matches no node,
    and must not begin to."""
    if not isinstance(term, Mapping) or term == {}:
        return term
    written = term.get("matchExpressions") or []
    return {**term, "matchExpressions": [*written, *asked]} if isinstance(written, list) else dict(term)
