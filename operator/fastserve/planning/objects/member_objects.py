"""The objects of one sub-model, but for its workloads (workloads.py). Each is a whole manifest without an
owner; ownership.py adds that."""

import base64

from fastserve.api.identity import DATA_PORT
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import CONFIG_MAP, SERVICE, Manifest
from fastserve.api.submodel import SubModel
from fastserve.planning.objects import naming
from fastserve.planning.objects.containers import DATA_PORT_NAME
from fastserve.planning.objects.policies import budget

PROTOTYPES_KEY, PROTOTYPES_ROWS = "key", "rows"
"""Entries of a prototypes ConfigMap: what they were computed from, and the array."""


def member_service(pool: ModelPool, sub_model: SubModel) -> Manifest:
    """The headless Service by which the pool's routers find the sub-model's pods: its EndpointSlices bear
    its labels."""
    name = sub_model.metadata.name
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": _metadata(pool, sub_model, naming.service_of_member(name)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": naming.member_selector(pool.metadata.name, name),
            "ports": [
                {
                    "name": DATA_PORT_NAME,
                    "port": DATA_PORT,
                    "targetPort": DATA_PORT_NAME,
                    "protocol": "TCP",
                }
            ],
        },
    }


def member_budget(pool: ModelPool, sub_model: SubModel) -> Manifest | None:
    """The sub-model's PodDisruptionBudget, over all of its revisions; scaling leaves it as it is."""
    name = sub_model.metadata.name
    selector = naming.member_selector(pool.metadata.name, name)
    metadata = _metadata(pool, sub_model, naming.service_of_member(name))
    scaling = sub_model.spec.autoscaling
    return budget(metadata, selector, scaling.max_replicas if scaling else sub_model.spec.replicas)


def prototypes_object(pool: ModelPool, sub_model: SubModel, key: str, rows: bytes) -> Manifest:
    """The sub-model's prototypes as a router computed them: `rows` is a .npy file, fp16 [n, d], and `key`
    identifies the texts and the encoder."""
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": _metadata(pool, sub_model, naming.prototypes_of_member(sub_model.metadata.name)),
        "data": {PROTOTYPES_KEY: key},
        "binaryData": {PROTOTYPES_ROWS: base64.b64encode(rows).decode("ascii")},
    }


def _metadata(pool: ModelPool, sub_model: SubModel, name: str) -> Manifest:
    return {
        "namespace": sub_model.metadata.namespace,
        "name": name,
        "labels": naming.member_labels(pool.metadata.name, sub_model.metadata.name),
    }
