"""The README's way with Argo CD, to a true answer. For Argo CD itself stands e2e/harness/argo_stand_in.py."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.argo_stand_in import NAMESPACE as ARGOCD
from harness.argo_stand_in import StandIn, application_kind
from harness.definitions import lent_definitions
from harness.example import load_models
from harness.kubectl import Kubectl
from harness.pages import ROOT, Block, Typist, at_the_keyboard, blocks
from harness.release import NAMESPACE, RELEASE, helm, install

pytestmark = pytest.mark.timeout(900)

WRITTEN = {"registry.example.com/fastserve": "localhost"}
"""What the page leaves to its reader, but for the repository: the checkout stands in for that."""


@pytest.fixture(scope="module")
def cluster_with_argo(installed: Kubectl, checkpoints: Path) -> Iterator[Kubectl]:
    """Without a FastServe; with the namespaces argocd and news, and the models on a claim in the latter."""
    with lent_definitions(installed):
        helm(installed, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
        try:
            installed.apply(json.dumps(application_kind()))
            installed("wait", "--for=condition=Established", "crd/applications.argoproj.io", "--timeout=30s")
            for name in (ARGOCD, "news"):
                installed("create", "namespace", name)
            installed.within(ARGOCD)("create", "configmap", "argocd-cm")
            load_models(installed.within("news"), checkpoints)
            yield installed
        finally:
            _take_away(installed)
            install(installed)


def _take_away(cluster: Kubectl) -> None:
    gone = ("--ignore-not-found", "--wait")
    cluster("delete", "namespace", "news", ARGOCD, *gone, seconds=300)
    cluster("delete", "crd", "applications.argoproj.io", *gone, seconds=60)
    own = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/part-of=fastserve,helm.sh/chart"
    cluster("delete", "clusterroles,clusterrolebindings", "-l", own, *gone)
    cluster("delete", "namespace", NAMESPACE, *gone, seconds=120)
    # What the stand-in alone had set of the definitions.
    for name in ("modelpools.fastserve.io", "submodels.fastserve.io"):
        head = (
            f"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {name}}}"
        )
        cluster("apply", "--server-side", "--field-manager=argocd-controller", "-f", "-", stdin=head)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fork in which the page's reader has written what is the reader's to write."""
    folder = tmp_path_factory.mktemp("fork")
    for name in ("charts", "crds"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("01-news"))
    for file in (folder / "examples" / "argocd").glob("*/*.yaml"):
        text = file.read_text(encoding="utf-8")
        for before, after in WRITTEN.items():
            text = text.replace(before, after)
        file.write_text(text, encoding="utf-8")
    return folder


def test_four_commands_lead_to_a_true_answer(cluster_with_argo: Kubectl, checkout: Path) -> None:
    (block,) = blocks("README.md", "With Argo CD")
    assert len(block.commands) <= 4
    teach, let_sync, wait, ask = block.commands
    typist = Typist(checkout, cluster_with_argo.environment)
    with at_the_keyboard(typist):
        typist.type(Block(f"{teach}\n{let_sync}", block.kind, block.section))
        StandIn(cluster_with_argo, checkout).sync("fastserve")
        said = typist.type(Block(f"{wait}\n{ask}", block.kind, block.section))
    answer = json.loads(said.splitlines()[-1])
    assert (answer["label"], answer["members"][0]["name"]) == ("football", "sport")


def test_the_page_of_the_example_types_the_same() -> None:
    assert [one.text for one in blocks("examples/argocd/README.md")] == [
        one.text for one in blocks("README.md", "With Argo CD")
    ]


def test_a_second_sync_writes_nothing(cluster_with_argo: Kubectl, checkout: Path) -> None:
    news = cluster_with_argo.within("news")
    kinds = "modelpools,submodels,deployments,configmaps,services"
    before = {one["metadata"]["uid"]: _version(one) for one in news.list_of(kinds)}
    StandIn(cluster_with_argo, checkout).sync("fastserve")
    assert {one["metadata"]["uid"]: _version(one) for one in news.list_of(kinds)} == before


def _version(one: dict[str, dict[str, str]]) -> str:
    """Deployments change their status by themselves."""
    return str(one["metadata"]["generation" if one["kind"] == "Deployment" else "resourceVersion"])
