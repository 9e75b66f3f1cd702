"""One release from its first installation to its last, in the order of the tests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.asking import forwarded, predict
from harness.definitions import lent_definitions, read_definitions
from harness.example import load_models, member
from harness.kubectl import Kubectl, Manifest
from harness.release import CHART, helm, image_values, only_operator
from harness.statuses import is_so, must_be
from harness.trace import parts, pods, uids
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(900)

DEFINITIONS_CHART = CHART.parent / "fastserve-crds"
POOL = {"apiVersion": "fastserve.io/v1alpha1", "kind": "ModelPool", "metadata": {"name": "news"}}
QUESTION, LABEL = "The striker scored twice in the cup final.", "football"


@dataclass(frozen=True)
class Life:
    """A cluster whose only operator comes and goes with the release `life`."""

    desk: Kubectl
    definitions: dict[str, Manifest]

    def helm(self, *arguments: str) -> str:
        return helm(self.desk, *arguments, "--namespace", self.desk.namespace)

    def values(self) -> list[str]:
        mine = f"watchNamespaces={{{self.desk.namespace}}},rbac.aggregate=false"
        return ["--set", mine, *image_values(), "--wait"]

    def changed_by(self, *arguments: str) -> str:
        """Run helm; what it printed. Fails where it touched the pool or the definitions."""
        before = self._seen()
        said = self.helm(*arguments)
        assert self._seen() == before
        return said

    def _seen(self) -> list[dict[str, str]]:
        names = {name: one["metadata"]["uid"] for name, one in read_definitions(self.desk).items()}
        return [names, uids(self.desk, "modelpools,submodels"), pods(self.desk), parts(self.desk)]

    def answers(self) -> None:
        with forwarded(self.desk, "service/news", 80) as url:
            assert predict(url, QUESTION)["label"] == LABEL


@pytest.fixture(scope="module")
def life(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Iterator[Life]:
    load_models(namespace, checkpoints)
    with only_operator(installed), lent_definitions(installed) as definitions:
        yield Life(namespace, definitions)
        for name in ("life", "life-crds"):
            helm(namespace, "uninstall", name, "--namespace", namespace.namespace, "--ignore-not-found")


def test_definitions_of_somebody_else_are_not_taken_over_by_the_way(life: Life) -> None:
    with pytest.raises(AssertionError, match=r"cannot be imported into the current release") as refused:
        life.helm("install", "life-crds", str(DEFINITIONS_CHART))
    print(str(refused.value).partition(": ")[2][:300])
    said = life.helm("install", "life-crds", str(DEFINITIONS_CHART), "--take-ownership")
    assert "STATUS: deployed" in said
    for definition in read_definitions(life.desk).values():
        assert definition["metadata"]["annotations"]["meta.helm.sh/release-name"] == "life-crds"
        was = life.definitions[definition["metadata"]["name"]]
        assert definition["metadata"]["uid"] == was["metadata"]["uid"]


def test_an_installation_ends_with_five_lines_that_can_be_typed(life: Life) -> None:
    said = life.helm("install", "life", str(CHART), "--set", "crds.enabled=false", *life.values())
    notes = said.partition("NOTES:\n")[2].strip()
    print(notes)
    assert len(notes.splitlines()) == 5
    rollout = notes.splitlines()[0].partition("kubectl ")[2].split()
    assert "successfully rolled out" in life.desk(*rollout)


def test_the_release_says_that_it_works(life: Life) -> None:
    said = life.helm("test", "life", "--logs")
    print(said.partition("NOTES")[0].strip())
    assert "Phase:          Succeeded" in said
    assert life.desk.list_of("pods", "app.kubernetes.io/component=test") == []


def test_it_serves_its_namespace_without_rights_on_the_cluster(life: Life) -> None:
    life.desk.apply(json.dumps(POOL))
    life.desk.apply(json.dumps(member("sport", examples=["the cup final", "a striker scored twice"])))
    eventually(lambda: must_be(life.desk, "modelpool", "news", "Ready"), 300, "the pool is Ready")
    life.answers()
    assert life.desk.list_of("clusterroles,clusterrolebindings", "app.kubernetes.io/instance=life") == []


def test_an_upgrade_touches_no_pool(life: Life) -> None:
    life.changed_by(
        "upgrade", "life", str(CHART), "--reuse-values", "--set", "logLevel=DEBUG,replicas=1", "--wait"
    )
    deployment = life.desk.get("deployment", "life-operator")
    assert deployment["spec"]["replicas"] == deployment["status"]["readyReplicas"] == 1
    assert '"FASTSERVE_LOG_LEVEL", "value": "DEBUG"' in json.dumps(deployment)
    eventually(lambda: _acts(life), 60, "the new operator acts")
    life.changed_by("upgrade", "life-crds", str(DEFINITIONS_CHART), "--set", "labels.team=desk")
    for definition in read_definitions(life.desk).values():
        assert definition["metadata"]["labels"]["team"] == "desk"
    life.answers()


def test_a_rollback_touches_no_pool(life: Life) -> None:
    life.changed_by("rollback", "life", "--wait")
    deployment = life.desk.get("deployment", "life-operator")
    assert deployment["spec"]["replicas"] == deployment["status"]["readyReplicas"] == 2
    assert '"FASTSERVE_LOG_LEVEL", "value": "INFO"' in json.dumps(deployment)
    eventually(lambda: _acts(life), 60, "an operator acts")
    life.changed_by("rollback", "life-crds")
    for definition in read_definitions(life.desk).values():
        assert "team" not in definition["metadata"]["labels"]
    life.answers()


def test_without_a_release_the_pool_answers_on(life: Life) -> None:
    life.changed_by("uninstall", "life", "--wait")
    said = life.changed_by("uninstall", "life-crds", "--wait")
    print(said.strip())
    assert life.desk.list_of("pods", "app.kubernetes.io/instance=life") == []
    assert (
        life.desk.list_of("roles,rolebindings,serviceaccounts,services", "app.kubernetes.io/instance=life")
        == []
    )
    life.answers()
    assert is_so(life.desk.get("modelpool", "news"), "Ready")


def test_what_was_edited_meanwhile_is_made_so_by_the_next_release(life: Life) -> None:
    before = pods(life.desk)
    life.desk("patch", "modelpool", "news", "--type=merge", "-p", '{"spec": {"selection": {"topK": 1}}}')
    assert not is_so(life.desk.get("modelpool", "news"), "Ready")
    said = life.helm("install", "life", str(CHART), "--take-ownership", *life.values())
    assert "STATUS: deployed" in said
    for definition in read_definitions(life.desk).values():
        assert definition["metadata"]["annotations"]["meta.helm.sh/release-name"] == "life"
    eventually(lambda: must_be(life.desk, "modelpool", "news", "Ready"), 60, "the pool is Ready again")
    assert pods(life.desk) == before
    life.answers()


def test_the_last_uninstall_leaves_the_definitions_of_the_chart_itself_too(life: Life) -> None:
    said = life.changed_by("uninstall", "life", "--wait")
    print(said.strip())
    assert "modelpools.fastserve.io" in said
    life.answers()


def _acts(life: Life) -> bool:
    """Whether the Lease is held by one of the operator's present pods."""
    lease = life.desk.get("lease", "life-operator")
    holder = lease["spec"].get("holderIdentity") or "nobody"
    present = life.desk.list_of("pods", "app.kubernetes.io/instance=life")
    return any(holder.startswith(pod["metadata"]["name"]) for pod in present)
