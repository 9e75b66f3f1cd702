"""Rendering the chart with the real helm, for tests."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "fastserve"
NAMESPACE = "fastserve-system"
Manifest = dict[str, Any]


def helm() -> str:
    """The helm on PATH, or the one that `make programs` built. Skips the test where there is neither."""
    built = platformdirs.user_state_path("fastserve") / "cluster" / "bin" / "helm"
    found = shutil.which("helm") or (str(built) if built.exists() else None)
    if found is None:
        pytest.skip("no helm on PATH and none built by make programs: charts are not rendered")
    return found


def run_helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Values go in as JSON, which is YAML; helm reads them from its standard input."""
    return subprocess.run(
        [helm(), *arguments, "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def render(values: Mapping[str, Any] | None = None, release: str = "fastserve") -> list[Manifest]:
    """The manifests that a release would consist of; fails the test where helm refuses."""
    done = run_helm("template", release, str(CHART), "--namespace", NAMESPACE, values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in YAML(typ="safe").load_all(done.stdout) if document]


def refusal(values: Mapping[str, Any]) -> str:
    """What helm says to values that it refuses; fails the test where it takes them."""
    done = run_helm("template", "fastserve", str(CHART), "--namespace", NAMESPACE, values=values)
    assert done.returncode != 0, "helm took the values"
    return done.stderr


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def only(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one manifest of a kind, and of a name where one is told."""
    (found,) = [m for m in of_kind(manifests, kind) if name in (None, m["metadata"]["name"])]
    return found
