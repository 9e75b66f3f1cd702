"""Volumes for the cluster of `make cluster`, which has no provisioner: folders of this machine, offered as
PersistentVolumes of its default storage class. Another cluster has a class of its own."""

import json
import shutil
from pathlib import Path

from harness.kubectl import Kubectl, Manifest
from harness.target import state_folder

CLASS = "local"
VOLUMES = 12
SIZE = "20Gi"


def offer_volumes(kubectl: Kubectl) -> None:
    """Have the class and free volumes; one whose claim is gone is emptied and offered again."""
    kubectl.apply(json.dumps(_storage_class()))
    for number in range(VOLUMES):
        name = f"local-{number}"
        volume = kubectl.find("persistentvolume", name)
        if volume is not None and volume["status"]["phase"] in {"Released", "Failed"}:
            kubectl("delete", "persistentvolume", name)
            shutil.rmtree(_folder(name), ignore_errors=True)
            volume = None
        if volume is None:
            _folder(name).mkdir(parents=True, exist_ok=True)
            _folder(name).chmod(0o777)
            kubectl.apply(json.dumps(_volume(name)))


def _folder(name: str) -> Path:
    return state_folder() / "volumes" / name


def _storage_class() -> Manifest:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }


def _volume(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "hostPath": {"path": str(_folder(name)), "type": "Directory"},
        },
    }
