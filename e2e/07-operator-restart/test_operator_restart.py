"""The operator is started again, upgraded and killed: what runs does not notice."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.asking import forwarded, predict
from harness.audit import Audit
from harness.example import load_models, member
from harness.kubectl import Kubectl, Manifest
from harness.operators import DEPLOYMENT, leader, operator_pods, operator_user, restarts
from harness.processes import kill, processes_of
from harness.release import NAMESPACE, install
from harness.statuses import must_be
from harness.target import own_cluster
from harness.trace import parts, pods
from harness.waiting import at_rest, eventually, throughout

pytestmark = pytest.mark.timeout(900)

QUESTION, LABEL = "The striker scored twice in the cup final.", "football"
POOL = {
    "apiVersion": "fastserve.io/v1alpha1",
    "kind": "ModelPool",
    "metadata": {"name": "news"},
    "spec": {"selection": {"fallback": {"type": "SubModel", "subModel": "sport"}}},
}
MEMBER = "fastserve.io/submodel=sport"


@dataclass(frozen=True)
class Seen:
    """Pods and objects by uid and version; statuses and specs as they stand."""

    pods: dict[str, str]
    parts: dict[str, str]
    documents: list[Manifest]


@dataclass(frozen=True)
class Desk:
    cluster: Kubectl
    kubectl: Kubectl

    def seen(self) -> Seen:
        documents = self.kubectl.list_of("fsp,fss")
        return Seen(pods(self.kubectl), parts(self.kubectl), documents)

    def unchanged(self, before: Seen) -> None:
        assert self.seen() == before

    def answers(self) -> None:
        with forwarded(self.kubectl, "service/news", 80) as url:
            assert predict(url, QUESTION)["label"] == LABEL

    def leads(self, names: set[str]) -> str:
        """The leader, once it is one of these."""
        found = leader(self.cluster)
        assert found in names, f"{found} holds the lease"
        return found


@pytest.fixture(scope="module")
def desk(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Iterator[Desk]:
    load_models(namespace, checkpoints)
    namespace.apply("\n---\n".join(json.dumps(one) for one in (POOL, member("sport"))))
    eventually(lambda: must_be(namespace, "modelpool", "news", "Ready"), 300, "the pool is Ready")
    yield Desk(installed, namespace)
    install(installed)


@pytest.fixture
def before(desk: Desk) -> Seen:
    return at_rest(desk.seen, quiet_seconds=5)


def names(cluster: Kubectl) -> set[str]:
    return {pod["metadata"]["name"] for pod in operator_pods(cluster)}


@pytest.mark.skipif(not own_cluster(), reason="the audit log of another cluster cannot be read")
def test_a_restart_writes_nothing_and_touches_no_pod(desk: Desk, before: Seen) -> None:
    system, old = desk.cluster.within(NAMESPACE), names(desk.cluster)
    with Audit() as audit:
        system("rollout", "restart", DEPLOYMENT)
        system("rollout", "status", DEPLOYMENT, "--timeout=90s", seconds=100)
        eventually(lambda: not names(desk.cluster) & old, 60, "no old operator runs")
        found = eventually(lambda: desk.leads(names(desk.cluster)), 60, "a new one leads")
        eventually(lambda: looks(system, found) >= 1, 60, "it has looked at the pool")
        throughout(lambda: desk.unchanged(before), 5)
        writes = audit.writes(operator_user(desk.cluster), desk.kubectl.namespace)
    print(f"a restart of {len(old)} replicas: {len(writes)} writes, {len(before.pods)} pods as before")
    assert writes == []
    desk.answers()


def looks(system: Kubectl, pod: str) -> float:
    """How often this operator has looked at a pool, by its own metrics."""
    text = system("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8082/proxy/metrics")
    line = next(
        one
        for one in text.splitlines()
        if one.startswith('fastserve_operator_reconcile_total{result="done"}')
    )
    return float(line.split()[-1])


def test_a_new_version_changes_no_pod_that_runs(desk: Desk, before: Seen) -> None:
    """Images and pull policy are what a new version's templates differ in most."""
    install(desk.cluster, "--set", "images.router.tag=newer,images.triton.tag=newer,images.pullPolicy=Never")
    found = eventually(lambda: desk.leads(names(desk.cluster)), 60, "one leads")
    eventually(lambda: looks(desk.cluster.within(NAMESPACE), found) >= 1, 60, "it has looked at the pool")
    assert at_rest(desk.seen, quiet_seconds=3) == before
    print(f"an upgrade to other images: {len(before.pods)} pods and {len(before.parts)} objects as before")
    # What is edited now is applied with the template that was kept.
    desk.kubectl("scale", "fss/sport", "--replicas=0")
    eventually(lambda: not pods(desk.kubectl, MEMBER), 60, "no member runs")
    desk.kubectl("scale", "fss/sport", "--replicas=1")
    eventually(lambda: must_be(desk.kubectl, "modelpool", "news", "Ready"), 120, "the pool is Ready again")
    assert [image for image in images(desk.kubectl, MEMBER) if image.endswith(":newer")] == []


def images(kubectl: Kubectl, selector: str) -> list[str]:
    specs = [pod["spec"] for pod in kubectl.list_of("pods", selector)]
    return [one["image"] for spec in specs for one in (*spec.get("initContainers", ()), *spec["containers"])]


def test_restarted_at_brings_todays_template(desk: Desk) -> None:
    install(desk.cluster, "--set", "images.pullPolicy=Never")
    before = at_rest(desk.seen, quiet_seconds=3)
    others = {name: told for name, told in before.pods.items() if "standby" in name}
    desk.kubectl("annotate", "--overwrite", "fss/sport", "fastserve.io/restarted-at=2026-01-01T00:00:00Z")
    start = time.monotonic()

    def renewed() -> Manifest | None:
        must_be(desk.kubectl, "modelpool", "news", "Ready")
        now = desk.kubectl.list_of("pods", MEMBER)
        names = {pod["metadata"]["name"] for pod in now}
        return now[0] if len(now) == 1 and not names & before.pods.keys() else None

    pod = eventually(renewed, 180, "another pod serves, and the old one is gone")
    print(f"restarted-at -> another pod serves: {time.monotonic() - start:.1f} s")
    assert {one["imagePullPolicy"] for one in pod["spec"]["containers"]} == {"Never"}
    assert {name: told for name, told in pods(desk.kubectl).items() if "standby" in name} == others
    desk.answers()


@pytest.mark.skipif(not own_cluster(), reason="processes of another cluster's nodes cannot be killed")
def test_a_killed_leader_is_followed(desk: Desk) -> None:
    install(desk.cluster)
    eventually(lambda: len(names(desk.cluster)) == 2, 60, "two operators")
    before = at_rest(desk.seen, quiet_seconds=5)
    killed = eventually(lambda: desk.leads(names(desk.cluster)), 60, "one leads")
    lives = restarts(desk.cluster)[killed]
    kill(processes_of(desk.cluster.within(NAMESPACE).get("pod", killed), "fastserve.controller"))
    start = time.monotonic()
    desk.kubectl("patch", "fss/sport", "--type=merge", "-p", '{"spec":{"description":"After the kill."}}')

    def acted() -> bool:
        return "After the kill." in desk.kubectl.get("configmap", "news-p-routes")["data"]["routes.json"]

    eventually(acted, 60, "an edit is carried out")
    seconds = time.monotonic() - start
    how = f"{killed} -> {leader(desk.cluster)}"
    print(f"kill -9 of the leader, {how}: an edit is carried out after {seconds:.1f} s")
    eventually(lambda: restarts(desk.cluster)[killed] == lives + 1, 30, "its container was started again")
    assert pods(desk.kubectl) == before.pods
    desk.answers()
