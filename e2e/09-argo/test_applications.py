"""The Applications of examples/argocd: what each holds, rendered as Argo CD does it, shown to the server."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from harness.kubectl import Kubectl, Manifest
from harness.release import helm

ROOT = Path(__file__).parents[2]
APPLICATIONS = sorted((ROOT / "examples" / "argocd" / "applications").glob("*.yaml"))
WAVE = "argocd.argoproj.io/sync-wave"


def read(file: Path) -> Manifest:
    found: Manifest = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return found


def rendered(cluster: Kubectl, application: Manifest) -> str:
    """What the Application's source holds, as YAML documents."""
    source = application["spec"]["source"]
    folder = ROOT / source["path"]
    if "helm" not in source:
        return "---\n".join(file.read_text() for file in sorted(folder.glob("*.yaml")))
    values = json.dumps(source["helm"].get("valuesObject", {}))
    chosen = ["--namespace", application["spec"]["destination"]["namespace"], "--set-json", values]
    return helm(cluster, "template", source["helm"]["releaseName"], str(folder), "--skip-tests", *chosen)


def test_they_come_one_after_the_other() -> None:
    waves = [read(file)["metadata"]["annotations"][WAVE] for file in APPLICATIONS]
    assert waves == ["-2", "-1", "0"]


@pytest.mark.parametrize("file", APPLICATIONS, ids=lambda file: file.stem)
def test_the_server_takes_what_an_application_holds(
    installed: Kubectl, namespace: Kubectl, file: Path
) -> None:
    application = read(file)
    text = rendered(installed, application)
    own = application["spec"]["destination"]["namespace"] == "news"
    where = namespace if own else installed.within("")
    command = ("apply", "--server-side", "--dry-run=server", "--field-manager=argocd-controller")
    # Helm has the release here; where Argo CD has it, it is alone.
    said = where(*command, "--force-conflicts", "-f", "-", stdin=text)
    print(said.strip())
    assert len(said.splitlines()) == len([one for one in YAML(typ="safe").load_all(text) if one])


def test_definitions_are_never_pruned(cluster: Kubectl) -> None:
    documents = [one for one in YAML(typ="safe").load_all(rendered(cluster, read(APPLICATIONS[0]))) if one]
    assert {one["kind"] for one in documents} == {"CustomResourceDefinition"}
    for one in documents:
        told = one["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        assert told == "Prune=false,Delete=false"
