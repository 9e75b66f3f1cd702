"""Nodes without a machine: kwok plays their kubelet. For many pods, not for true ones."""

from typing import Any

from cluster import gpus
from cluster.api import Api
from cluster.places import MANIFESTS, Places
from cluster.processes import Program

STAGES = MANIFESTS / "kwok.yaml"
ANNOTATION = "kwok.x-k8s.io/node"
TAINT = {"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}
"""No true pod lands on such a node: only what tolerates this."""
ROOM = {"cpu": "64", "memory": "512Gi", "pods": "250", "ephemeral-storage": "1Ti"}


def program(places: Places) -> Program:
    kubeconfig = places.configuration / "kwok.kubeconfig"
    command = (
        f"{places.programs}/kwok",
        f"--config={STAGES}",
        f"--kubeconfig={kubeconfig}",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        "--cidr=10.245.0.0/16",
        "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:10247",
    )
    return Program("kwok", command, (STAGES, kubeconfig))


def fake_node(number: int) -> dict[str, Any]:
    """A Node with room, four GPUs and the labels of the true ones."""
    name = f"fake-{number:04d}"
    labels = {
        f"kubernetes.io/{key}": value
        for key, value in (("hostname", name), ("os", "linux"), ("arch", "amd64"))
    }
    room = {**ROOM, gpus.RESOURCE: str(gpus.COUNT)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**labels, **gpus.LABELS, "type": "kwok"},
            "annotations": {ANNOTATION: "fake"},
        },
        "spec": {"taints": [TAINT]},
        "status": {"capacity": room, "allocatable": room},
    }


def set_fake_nodes(api: Api, count: int) -> None:
    """Have exactly `count` fake nodes."""
    names = {item["metadata"]["name"] for item in api.list("nodes", "--selector=type=kwok")}
    wanted = [fake_node(number) for number in range(1, count + 1)]
    missing = [node for node in wanted if node["metadata"]["name"] not in names]
    if missing:
        api.apply(missing)
    extra = sorted(names - {node["metadata"]["name"] for node in wanted})
    if extra:
        api.call("delete", "node", *extra, "--wait=false")
