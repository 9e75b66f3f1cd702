"""What the charts render is what this API server takes: by its own schemas, and by its own judgement."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from charts.server_schemas import write_schemas
from harness.kubectl import Kubectl

ROOT = Path(__file__).parents[2]
SHAPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "namespaces": {"watchNamespaces": ["default", "kube-public"]},
    "doors": {"expose": [{"pool": "news", "host": "news.example.com", "tlsSecret": "cert"}]},
    "placed": {
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"operator": "Exists"}],
        "rbac": {"finalizers": True},
        "crds": {"keep": False, "annotations": {"a": "b"}},
    },
}
every_shape = pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)


def tool(cluster: Kubectl, name: str) -> str:
    found = shutil.which(name, path=cluster.environment["PATH"])
    assert found, f"{name} is not on the PATH; `make cluster` builds one"
    return found


def rendered(cluster: Kubectl, values: dict[str, Any]) -> str:
    command = [tool(cluster, "helm"), "template", "fastserve", str(ROOT / "charts/fastserve"), "--skip-tests"]
    command += ["--namespace", cluster.namespace, "--values", "-"]
    return subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def schemas(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_schemas(
        json.loads(cluster("get", "--raw", "/openapi/v2")), tmp_path_factory.mktemp("schemas")
    )


def judged(cluster: Kubectl, schemas: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [tool(cluster, "kubeconform"), "-strict", "-summary", "-schema-location", schemas]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


@every_shape
def test_it_conforms_to_the_schemas_of_the_server(
    cluster: Kubectl, schemas: str, values: dict[str, Any]
) -> None:
    done = judged(cluster, schemas, rendered(cluster, values))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_field_that_no_kind_has_is_found(cluster: Kubectl, schemas: str) -> None:
    done = judged(cluster, schemas, rendered(cluster, {}).replace("replicas: 2", "replica: 2"))
    assert done.returncode != 0
    assert "replica" in done.stdout


@every_shape
def test_the_server_takes_it_without_a_warning(namespace: Kubectl, values: dict[str, Any]) -> None:
    """Pod Security "restricted" is enforced in the namespace, and warns of what a Deployment would break."""
    namespace(
        "label", "namespace", namespace.namespace, "pod-security.kubernetes.io/warn=restricted", "--overwrite"
    )
    text = rendered(namespace, values)
    command = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    done = namespace.within("").attempt(*command, stdin=text)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(done.stdout.splitlines()) == len([d for d in YAML(typ="safe").load_all(text) if d])
