"""Pools whose pods run on a node that kwok plays: for what the operator does, not for what pods answer.

kwok says at once that such a pod runs and is ready; no router answers there, so that no member is Ready.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cluster.kwok import TAINT, fake_node
from harness.kubectl import Kubectl, Manifest

MARK = "e2e.fastserve.io/node"
PLACE: dict[str, Any] = {
    "nodeSelector": {MARK: "fake"},
    "tolerations": [{"key": TAINT["key"], "operator": "Exists"}],
}
"""The podTemplate that has a pod land there, and nowhere else."""


@contextmanager
def faked_node(cluster: Kubectl, name: str) -> Iterator[None]:
    """A node of this name for as long as the block lasts; it needs a kwok that runs (`make cluster` does)."""
    cluster("delete", "node", name, "--ignore-not-found")
    cluster("create", "-f", "-", stdin=json.dumps(_node(name)))
    try:
        yield
    finally:
        cluster("delete", "node", name, "--ignore-not-found")


def silence(cluster: Kubectl, name: str) -> None:
    """Let nobody speak for the node any more: it is made anew as one that kwok does not know. Its pods stay
    as they are, until the control plane misses its kubelet."""
    node = _node(name)
    del node["metadata"]["annotations"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it runs"}
    node["status"]["conditions"] = [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}]
    cluster("delete", "node", name)
    cluster("create", "-f", "-", stdin=json.dumps(node))


def _node(name: str) -> Manifest:
    node = fake_node(0)
    labels = {**node["metadata"]["labels"], "kubernetes.io/hostname": name, "type": "story", MARK: "fake"}
    node["metadata"] |= {"name": name, "labels": labels}
    return node


def pool(name: str = "news", **spec: object) -> Manifest:
    """A ModelPool; `spec` replaces fields of its spec."""
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": name},
        "spec": {"router": {"podTemplate": PLACE}, **spec},
    }


def sub_model(name: str, of: str = "news", **spec: object) -> Manifest:
    """A SubModel of the pool `of`; `spec` replaces fields of its spec."""
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "SubModel",
        "metadata": {"name": name},
        "spec": {
            "poolRef": {"name": of},
            "examples": [f"a text about {name}"],
            "model": {"storageUri": f"https://models.example/{name}.tar.gz"},
            "podTemplate": PLACE,
            **spec,
        },
    }


def apply(kubectl: Kubectl, *manifests: Manifest) -> None:
    kubectl.apply("\n---\n".join(json.dumps(one) for one in manifests))
