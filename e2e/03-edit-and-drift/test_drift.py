"""What others do to a pool's objects: undone where the plan says otherwise, left where it says nothing."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness import fake
from harness.contents import contents
from harness.kubectl import Kubectl, Manifest
from harness.trace import POOL_PARTS, parts, uids
from harness.waiting import at_rest, eventually

pytestmark = pytest.mark.timeout(900)

SECONDS = 15
"""As measured it takes one or two; the machine is noisy."""
IN_VAIN = ("no change", "unchanged", "not labeled", "cancelled")
"""What kubectl prints where it did nothing."""
BY_HAND: dict[str, dict[str, Any]] = {
    "ServiceAccount": {"metadata": {"labels": {"app.kubernetes.io/part-of": "mine"}}},
    "Role": {"rules": []},
    "RoleBinding": {"subjects": []},
    "ConfigMap": {"data": {"routes.json": "{}"}},
    "NetworkPolicy": {"spec": {"ingress": [{}]}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 2}},
    "ControllerRevision": {"metadata": {"annotations": {"fastserve.io/applied-digest": "mine"}}},
    "Deployment": {"spec": {"replicas": 5}},
}
PORTS = {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 9999, "protocol": "TCP"}]}}
SELECTOR = {"spec": {"selector": {"fastserve.io/role": "mine"}}}


@dataclass(frozen=True)
class Desk:
    """A pool at rest, and what its objects say when nobody touches them."""

    kubectl: Kubectl
    said: dict[str, Any]

    def repaired(self, name: str, act: Callable[[], str]) -> float:
        """Seconds until the objects say again what they said; one look at all of them takes a third."""
        did = act()
        assert not any(words in did for words in IN_VAIN), did
        start = time.monotonic()

        def repair() -> float:
            now = contents(self.kubectl)
            assert now == self.said, [key for key in self.said if now.get(key) != self.said[key]]
            return time.monotonic() - start

        return eventually(repair, SECONDS, f"{name} is as it was")


@pytest.fixture(scope="module")
def desk(installed: Kubectl, fake_place: None, namespace: Kubectl) -> Desk:
    fake.apply(
        namespace,
        fake.pool(router={"standbyReplicas": 2, "podTemplate": fake.PLACE}),
        fake.sub_model("sport", replicas=2),
    )
    eventually(lambda: len(namespace.list_of("pods", "fastserve.io/pool=news")) == 4, 60, "four pods")
    at_rest(lambda: parts(namespace))
    said = contents(namespace)
    assert {name.partition("/")[0] for name in said} == {*BY_HAND, "Service"}
    return Desk(namespace, said)


def test_what_somebody_deletes_is_there_again(desk: Desk) -> None:
    before = uids(desk.kubectl, POOL_PARTS)
    took = {
        name: desk.repaired(name, lambda name=name: desk.kubectl("delete", name, "--wait=false"))  # type: ignore[misc]
        for name in desk.said
    }
    _print("deleted", took)
    after = uids(desk.kubectl, POOL_PARTS)
    assert not [name for name in desk.said if after[name] == before[name]]


def test_what_somebody_writes_into_it_is_undone(desk: Desk) -> None:
    took = {}
    for name in desk.said:
        kind = name.partition("/")[0]
        patch = BY_HAND.get(kind) or (PORTS if name == "Service/news" else SELECTOR)
        by_hand = ("patch", name, "--type=merge", "-p", json.dumps(patch), "--field-manager=kubectl-edit")
        took[name] = desk.repaired(name, lambda by_hand=by_hand: desk.kubectl(*by_hand))  # type: ignore[misc]
    _print("edited", took)


@pytest.mark.parametrize("label", ["fastserve.io/pool-", "app.kubernetes.io/managed-by=me"])
def test_labels_that_somebody_takes_away_come_back(desk: Desk, label: str) -> None:
    took = {
        name: desk.repaired(name, lambda name=name: desk.kubectl("label", "--overwrite", name, label))  # type: ignore[misc]
        for name in desk.said
    }
    _print(label, took)


def test_an_editor_and_scale_do_no_better(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = "terminationGracePeriodSeconds:"
    monkeypatch.setenv("KUBE_EDITOR", f"sed -i 's/{seconds}.*/{seconds} 1/'")
    name = next(name for name in desk.said if name.startswith("Deployment/sport"))
    took = {
        "kubectl edit": desk.repaired(name, lambda: desk.kubectl("edit", name)),
        "kubectl scale": desk.repaired(name, lambda: desk.kubectl("scale", name, "--replicas=0")),
        "kubectl set image": desk.repaired(
            name, lambda: desk.kubectl("set", "image", name, "triton=example.com/mine:1")
        ),
    }
    _print("by name", took)


def test_a_status_is_a_report_and_says_the_truth_again(desk: Desk) -> None:
    told = at_rest(lambda: desk.kubectl.get("submodel", "sport")["status"])
    lie = '{"status":{"readyReplicas":7,"conditions":[]}}'
    desk.kubectl("patch", "fss/sport", "--subresource=status", "--type=merge", "-p", lie)

    def true_again() -> bool:
        now = desk.kubectl.get("submodel", "sport")["status"]
        assert now.keys() == told.keys(), now
        assert now["readyReplicas"] == told["readyReplicas"]
        return reasons(now) == reasons(told)

    eventually(true_again, SECONDS, "the status says again what is so")


def reasons(status: Manifest) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_nothing_of_ours_owns_a_field_twice(desk: Desk) -> None:
    """A merge patch that took a list back would, as a second manager, keep what a later plan leaves out."""
    shown = desk.kubectl("get", "service/news", "-o", "json", "--show-managed-fields")
    claims = json.loads(shown)["metadata"]["managedFields"]
    how = [one["operation"] for one in claims if one["manager"] == "fastserve-operator"]
    assert how == ["Apply"]


def test_what_others_add_stays(desk: Desk) -> None:
    everything = uids(desk.kubectl, POOL_PARTS)
    before = {name: everything[name] for name in desk.said}
    for name in desk.said:
        desk.kubectl("annotate", name, "team.example.com/note=ours")
        desk.kubectl("label", name, "team=desk")
    desk.kubectl("patch", "configmap/news-p-routes", "--type=merge", "-p", '{"data":{"notes":"ours"}}')
    at_rest(lambda: parts(desk.kubectl))
    # Everything is applied again, for everything is wanted otherwise.
    desk.kubectl(
        "patch", "submodel/sport", "--type=merge", "-p", '{"spec":{"replicas":3,"examples":["new"]}}'
    )

    def applied() -> bool:
        now = desk.kubectl.list_of("deployments", "fastserve.io/submodel=sport")
        table = desk.kubectl.get("configmap", "news-p-routes")["data"]
        return [one["spec"]["replicas"] for one in now] == [3] and '"new"' in table["routes.json"]

    eventually(applied, SECONDS, "the edit is applied")
    now = contents(desk.kubectl)
    assert now["ConfigMap/news-p-routes"]["data"]["notes"] == "ours"
    for name in desk.said:
        assert now[name]["annotations"]["team.example.com/note"] == "ours", name
        assert now[name]["labels"]["team"] == "desk", name
    assert {name: one for name, one in uids(desk.kubectl, POOL_PARTS).items() if name in before} == before


def test_a_dry_run_under_another_manager_changes_nothing(desk: Desk) -> None:
    documents = "modelpool/news", "submodel/sport"
    live = [json.loads(desk.kubectl("get", one, "-o", "json")) for one in documents]
    text = json.dumps(fake.pool(router={"standbyReplicas": 2, "podTemplate": fake.PLACE}))
    before = at_rest(lambda: parts(desk.kubectl))
    dry = desk.kubectl(
        "apply", "--server-side", "--field-manager=argocd-controller", "--force-conflicts",
        "--dry-run=server", "-o", "json", "-f", "-", stdin=text,
    )  # fmt: skip
    assert json.loads(dry)["spec"] == live[0]["spec"]
    assert json.loads(dry).get("status") == live[0].get("status")
    assert [json.loads(desk.kubectl("get", one, "-o", "json")) for one in documents] == live
    assert at_rest(lambda: parts(desk.kubectl)) == before


def _print(what: str, took: dict[str, float]) -> None:
    print(f"\n{what}:")
    for name, seconds in took.items():
        print(f"  {re.sub(r'-[0-9a-f]{8}$', '-*', name):40} {seconds:5.1f} s")
