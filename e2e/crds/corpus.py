"""Manifests near the edge of what is allowed: a right one, and a few of its fields replaced.

The replacements come from the schema itself: at, below and above each bound, each enum and a word that is
none of it, each type and another one. Null is left out: the server drops it, we refuse it, and both are
documented.
"""

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fastserve.api.crds import custom_resource_definitions

Json = Any
FieldPath = tuple[str, ...]
Change = tuple[FieldPath, Json]

SCHEMAS: dict[str, dict[str, Any]] = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for crd in custom_resource_definitions()
}
RIGHT: dict[str, dict[str, Any]] = {
    "ModelPool": {"task": "TextClassification"},
    "SubModel": {
        "poolRef": {"name": "news"},
        "examples": ["a goal in the last minute"],
        "model": {"storageUri": "s3://models/sport"},
    },
}
WORDS = (
    "", "a", "x" * 41, "x" * 4097, "Not A Name", "news", "0", "1", "0.5", "1.0000001", "16Gi", "500m", "-1",
    "Custom", "HotSwap", "2", "SubModel", "Embedding", "Vote", "WeightedMean",
    "nvidia.com/gpu.shared",
    "nvidia.com/mig-1g.5gb", "FASTSERVE_X", "HOME", "fastserve.io/pool", "s3://b/p", "file:///models", "ftp://x/y",
    "https://h/a.tar",
    "hf://o/m:r", "oci://r.example/x:1", "pvc://claim/x", "pvc://claim/../x", "sha256:" + "0" * 64,
    "08:00", "24:00", "Europe/Berlin", "http://prometheus:9090/p", "http://prometheus:9090?q", "External",
    "Sunday",
    "oci://r/x:1", "oci://localhost/x:1", "oci://r.example/x@sha256:" + "0" * 64, "ImageVolume",
)  # fmt: skip

BLOCKS: tuple[Json, ...] = (
    {"type": "SubModel", "subModel": "x"}, {"type": "SubModel"}, {"subModel": "x"}, {"type": "Custom"},
    {"type": "Custom", "labels": ["a"]}, {"labels": ["a"]}, {"storageUri": "file:///x"},
    {"resourceName": "a"}, {"configMap": {"name": "x"}},
    {"storageUri": "file:///x", "configMap": {"name": "x"}}, {"tensor": 2},
    {"secretKeyRef": {"name": "x", "key": "k"}}, {"topK": 1}, {"minMembers": 2}, {"method": "WeightedMean"},
    {"resourceName": "nvidia.com/gpu.shared"}, {"resourceName": "nvidia.com/mig-1g.5gb"}, {"secretName": "x"},
    {"storageUri": "oci://r.example/x:1", "delivery": "ImageVolume"},
    {"storageUri": "oci://r.example/x@sha256:" + "0" * 64, "delivery": "ImageVolume"},
    {"storageUri": "oci://r/x:1", "delivery": "ImageVolume"},
    [{"name": "X", "value": "v"}], [{"name": "X", "value": "v", "valueFrom": {}}], [{"name": "HOME"}],
    {"maxReplicas": 2}, {"maxReplicas": 2, "minReplicas": 3}, {"minReplicas": 0},
    {"maxReplicas": 9, "minReplicas": 0},
    [{"start": "08:00", "end": "18:00"}], [{"start": "08:00"}], {"url": "https://prometheus.example"},
    [{"name": "A"}, {"name": "A"}], ["a"], [{"key": "k", "operator": "Exists"}], [{"name": "secret"}],
)  # fmt: skip
"""What only several fields together make right or wrong."""


def manifest(kind: str, changes: tuple[Change, ...]) -> dict[str, Any]:
    """A right manifest with its fields at the given paths replaced."""
    spec: dict[str, Any] = dict(RIGHT[kind])
    for path, value in changes:
        spec = _with(spec, path, value)
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "sample", "namespace": "default"},
        "spec": spec,
    }


def _with(node: Json, path: FieldPath, value: Json) -> Json:
    if not path:
        return value
    head, *rest = path
    if head == "[]":
        item = node[0] if isinstance(node, list) and node else {}
        return [_with(item, tuple(rest), value)]
    inner = node if isinstance(node, dict) else {}
    return {**inner, head: _with(inner.get(head, {}), tuple(rest), value)}


def fields(kind: str) -> Iterator[tuple[FieldPath, dict[str, Any]]]:
    """Every field of the spec with its schema; ``[]`` stands for the one item of a list."""
    yield from _fields(SCHEMAS[kind]["properties"]["spec"], ())


def _fields(node: dict[str, Any], path: FieldPath) -> Iterator[tuple[FieldPath, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield (*path, name), child
        yield from _fields(child, (*path, name))
    if node.get("type") == "array":
        yield (*path, "[]"), node["items"]
        yield from _fields(node["items"], (*path, "[]"))


def values_for(node: dict[str, Any]) -> st.SearchStrategy[Json]:
    """Values at the edges of one field's schema, right and wrong."""
    edges: list[Json] = [True, False, 1, 2, 3, -1, 2.5, [], {}, {"name": "x"}, *WORDS, *BLOCKS]
    edges += node.get("enum", [])
    for bound in ("minimum", "maximum"):
        if bound in node:
            edges += [node[bound] - 1, node[bound], node[bound] + 1]
    if "maxLength" in node:
        edges += ["x" * node["maxLength"], "x" * (node["maxLength"] + 1)]
    if "maxItems" in node and node["items"].get("type") == "string":
        edges += [["x"] * node["maxItems"], ["x"] * (node["maxItems"] + 1)]
    if "additionalProperties" in node:
        most = node["maxProperties"]
        edges += [{f"k{i}": "1" for i in range(count)} for count in (1, most, most + 1)]
        edges += [{"fastserve.io/pool": "x"}, {"app.kubernetes.io/name": "x"}, {"cpu": 2}, {"cpu": "two"}]
    judge = Draft202012Validator(node)
    right = [edge for edge in edges if judge.is_valid(edge)]
    return st.sampled_from(right) | st.sampled_from(edges) if right else st.sampled_from(edges)


def changes_of(kind: str) -> st.SearchStrategy[tuple[Change, ...]]:
    """One to four changes of fields anywhere in the spec."""
    places = list(fields(kind))
    one = st.sampled_from(places).flatmap(
        lambda place: values_for(place[1]).map(lambda value: (place[0], value))
    )
    return st.lists(one, min_size=1, max_size=3).map(tuple)
