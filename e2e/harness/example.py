"""examples/02-cluster, as its README has it typed, and the documents of the other examples for a cluster."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness.kubectl import Kubectl, KubectlFailed
from harness.models import SPECIALISTS
from harness.release import images

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "02-cluster"
IMAGE = "localhost/fastserve-operator:0.1.0"


def load_models(kubectl: Kubectl, checkpoints: Path, names: Sequence[str] = SPECIALISTS) -> None:
    """Make the claim `models` and copy the specialists into it, or other folders of `checkpoints`."""
    for file in sorted((EXAMPLE / "storage").glob("*.yaml")):
        text = file.read_text()
        assert IMAGE in text or "PersistentVolumeClaim" in text
        kubectl.apply(text.replace(IMAGE, images()["operator"]))
    kubectl("wait", "--for=condition=Ready", "pod/models-loader", "--timeout=2m", seconds=130)
    _copy(kubectl, checkpoints, names)
    kubectl("delete", "pod", "models-loader", "--grace-period=1")


def _copy(kubectl: Kubectl, checkpoints: Path, names: Sequence[str]) -> None:
    pack = ["tar", "-C", str(checkpoints), "-cf", "-", *names]
    unpack = ["tar", "-C", "/models", "--no-same-owner", "-xf", "-"]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
        done = subprocess.run(
            [kubectl.binary, "-n", kubectl.namespace, "exec", "-i", "models-loader", "--", *unpack],
            stdin=tar.stdout,
            capture_output=True,
            text=True,
            timeout=120,
            env=kubectl.environment,
            check=False,
        )
    if done.returncode != 0:
        raise KubectlFailed(f"copying the models: {done.stderr.strip()}")


def apply_pool(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(EXAMPLE / "pool.yaml"))


def documents(example: str = EXAMPLE.name) -> dict[str, dict[str, Any]]:
    """An example's pool and sub-models, by name, to be applied in part or with changes."""
    found = YAML(typ="safe", pure=True).load_all(EXAMPLES / example / "pool.yaml")
    return {one["metadata"]["name"]: one for one in found}


def member(name: str, **spec: object) -> dict[str, object]:
    """A SubModel of the pool `news` over one of the specialists; `spec` replaces fields of its spec."""
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "SubModel",
        "metadata": {"name": name},
        "spec": {
            "poolRef": {"name": "news"},
            "examples": [f"a text about {name}", f"more about {name}"],
            "model": {"storageUri": f"pvc://models/{name}"},
            **spec,
        },
    }
