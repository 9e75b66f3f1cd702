"""The pages in the order in which a reader comes by them; the pool that the README begins with stays."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.definitions import NAMES, lent_definitions
from harness.kubectl import Kubectl
from harness.pages import ROOT, Block, Typist, at_the_keyboard, blocks
from harness.release import NAMESPACE, RELEASE, helm, install
from harness.trace import pods

pytestmark = pytest.mark.timeout(900)

ANSWER = re.compile(r'"label": ?"football"')
INSTALL = "docs/install.md"
EXAMPLE = "examples/02-cluster/README.md"
TYPED: set[str] = set()
"""Blocks that were typed."""


@pytest.fixture(scope="module")
def keyboard(
    installed: Kubectl, namespace: Kubectl, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Typist]:
    """At a checkout whose models are trained, without a FastServe on the cluster."""
    folder = _checkout(tmp_path_factory.mktemp("checkout"), checkpoints)
    kubeconfig = tmp_path_factory.mktemp("kube") / "config"
    kubeconfig.write_bytes(namespace.kubeconfig.read_bytes())
    environment = {
        **namespace.environment,
        "KUBECONFIG": str(kubeconfig),
        "REGISTRY": "localhost",
        "HF_TOKEN": "t",
    }
    there = Kubectl(namespace.binary, kubeconfig, namespace.namespace, namespace.path)
    there("config", "set-context", "--current", f"--namespace={namespace.namespace}")
    said_for = {"/namespaces/default/": f"/namespaces/{namespace.namespace}/", "NAME": "sport"}
    with lent_definitions(installed):
        helm(installed, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
        _give_to_helm(installed)
        try:
            yield Typist(folder, environment, said_for)
        finally:
            helm(installed, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--ignore-not-found")
            _without_plain_objects(installed)
            install(installed)


def _without_plain_objects(cluster: Kubectl) -> None:
    """Take away what was installed by kubectl."""
    system = cluster.within(NAMESPACE)
    system("delete", "-f", str(ROOT / "install"), "--ignore-not-found", "--wait", seconds=120)


def _checkout(folder: Path, checkpoints: Path) -> Path:
    for name in ("charts", "crds", "docs", "install"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "examples" / "01-news").mkdir(parents=True)
    (folder / "examples" / "01-news" / "models").symlink_to(checkpoints)
    for name in ("02-cluster", "argocd"):
        (folder / "examples" / name).symlink_to(ROOT / "examples" / name)
    return folder


def _give_to_helm(cluster: Kubectl) -> None:
    """The definitions stay, with everybody's pools; for Helm they are as an earlier release left them."""
    for name in NAMES:
        metadata = {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {
                "meta.helm.sh/release-name": RELEASE,
                "meta.helm.sh/release-namespace": NAMESPACE,
            },
        }
        head = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata,
        }
        cluster("apply", "--server-side", "--field-manager=helm", "-f", "-", stdin=json.dumps(head))


def typed(keyboard: Typist, *found: Block) -> list[str]:
    """What each block printed."""
    with at_the_keyboard(keyboard):
        said = [keyboard.type(one) for one in found]
    TYPED.update(one.text for one in found)
    return said


def kept(page: str, *, but: str) -> list[Block]:
    """The blocks of a page without those that hold `but`."""
    return [one for one in blocks(page) if but not in one.text]


def test_the_example_puts_the_models_on_a_claim(keyboard: Typist) -> None:
    models, *_ = blocks(EXAMPLE)
    typed(keyboard, models)


def test_the_readme_goes_from_kubectl_to_a_true_answer(keyboard: Typist) -> None:
    (block,) = blocks("README.md", "With kubectl")
    assert len(block.commands) <= 4
    assert ANSWER.search(typed(keyboard, block)[0])


def test_the_readme_goes_from_helm_to_a_true_answer(keyboard: Typist, namespace: Kubectl) -> None:
    _without_plain_objects(namespace)
    before = pods(namespace)
    (block,) = blocks("README.md", "With Helm")
    assert len(block.commands) <= 4
    assert ANSWER.search(typed(keyboard, block)[0])
    assert pods(namespace) == before


def test_what_the_install_page_says_of_helm(keyboard: Typist, namespace: Kubectl) -> None:
    helm(namespace, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    installing, upgrading = blocks(INSTALL, "With Helm"), blocks(INSTALL, "Upgrade, roll back, uninstall")
    said = typed(keyboard, *installing, *upgrading)
    assert "Phase:          Succeeded" in said[0]
    assert "Rollback was a success" in said[1]
    assert namespace.within(NAMESPACE).list_of("deployments") == []


def test_what_the_charts_pages_say(keyboard: Typist, namespace: Kubectl) -> None:
    assert "Phase:          Succeeded" in typed(keyboard, *blocks("charts/fastserve/README.md"))[0]
    helm(namespace, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")


def test_what_the_install_page_says_of_kubectl(keyboard: Typist) -> None:
    said = typed(keyboard, *blocks(INSTALL, "With kubectl"))
    assert "successfully rolled out" in said[0]


def test_the_example_from_its_pool_to_an_answer(keyboard: Typist) -> None:
    said = typed(keyboard, *kept(EXAMPLE, but="delete -f"))
    assert ANSWER.search(said[-1])


def test_the_first_pool(keyboard: Typist) -> None:
    making, looking = typed(keyboard, *blocks("docs/first-pool.md"))
    assert ANSWER.search(making)
    assert re.search(r'"name": ?"sport"', looking)
    assert "storageUri" in looking


def test_from_one_version_to_the_next(keyboard: Typist) -> None:
    (said,) = typed(keyboard, *blocks("docs/versions.md"))
    assert re.search(r"Active Version: +2026-11\b", said)


def test_to_zero_and_back(keyboard: Typist) -> None:
    (said,) = typed(keyboard, *blocks("docs/autoscaling.md"))
    assert re.search(r"(?i)^x-fastserve-woken: science\b", said, re.MULTILINE)
    assert '"label":"space"' in said.replace(" ", "")
    assert '"desiredReplicas":1' in said.replace(" ", "")
    assert re.search(r"ScaledDown[^\n]* to 0 replicas", said)
    assert re.search(r"ScaledUp[^\n]* from 0 to 1 replicas", said)


def test_traces(keyboard: Typist) -> None:
    (said,) = typed(keyboard, *blocks("docs/tracing.md"))
    assert "modelpool.fastserve.io/news patched" in said
    assert ANSWER.search(said)


def test_who_may_ask_a_pool(keyboard: Typist) -> None:
    keys, asking, tls, _ = typed(keyboard, *blocks("docs/access.md"))
    assert "condition met" in keys
    assert asking.count('"decision":"Selected"') == 2
    assert "KeyMissing" in asking
    assert ANSWER.search(tls)


def test_where_it_runs(keyboard: Typist) -> None:
    (said,) = typed(keyboard, *blocks("docs/gpus-and-placement.md"))
    assert re.search(r"sport-m-\S+\t\S+\tcpu", said)


def test_a_secret_for_a_source(keyboard: Typist) -> None:
    (said,) = typed(keyboard, *blocks("docs/sources.md"))
    assert "secret/hub created" in said


def test_status_and_troubleshooting(keyboard: Typist) -> None:
    looking, logs = typed(keyboard, *blocks("docs/status-and-troubleshooting.md"))
    assert "InferenceAnswered" in looking
    assert re.search(r"Normal +Ready", looking) or "Ready" in looking
    assert '"reason": ' in logs
    assert "model" in logs


def test_and_away_with_it(keyboard: Typist, namespace: Kubectl) -> None:
    *_, away = blocks(EXAMPLE)
    typed(keyboard, away)
    assert namespace.list_of("modelpools,submodels") == []
    assert namespace.list_of("persistentvolumeclaims") != []


def test_no_command_of_these_pages_was_left_out() -> None:
    pages = [INSTALL, EXAMPLE, "charts/fastserve/README.md", *_docs()]
    untyped = {
        f"{page}: {one.section}"
        for page in pages
        for one in blocks(page)
        if one.text not in TYPED and one.kind != "images"
    }
    assert untyped == set()


def _docs() -> list[str]:
    """The pages for users of a cluster that hold commands."""
    local = {"run-locally.md", "architecture.md", "install.md"}
    return [f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md") if page.name not in local]
