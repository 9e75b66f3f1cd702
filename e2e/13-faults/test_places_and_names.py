import json
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from harness import fake
from harness.example import member
from harness.kubectl import Kubectl, Manifest
from harness.rows import said_of, show, timed
from harness.statuses import condition, must_be
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(600)

MOST = 15
"""Seconds. The promise is five; the machine of the tests is small and busy."""
FOREIGN_AGAIN = 45
"""Seconds: what is not ours is not watched, it is looked at every thirty."""


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl) -> Kubectl:
    news = {"apiVersion": "fastserve.io/v1alpha1", "kind": "ModelPool", "metadata": {"name": "news"}}
    namespace.apply(json.dumps(news))
    return namespace


def test_no_gpu_is_free(pool: Kubectl) -> None:
    pool.apply(json.dumps(member("wide", gpu={}, parallelism={"tensor": 8}, model=NOWHERE)))
    told = ("Ready", "False", "Unschedulable")
    seconds, said = timed(lambda: said_of(pool, "submodel", "wide", told), MOST, "the scheduler's words")
    show("eight GPUs on a node of four", seconds, said)
    (pod,) = pool.list_of("pods", "fastserve.io/submodel=wide")
    (words,) = [one["message"] for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert said["message"] == words
    assert "Insufficient nvidia.com/gpu" in words
    said_of(pool, "submodel", "wide", ("PlacementReady", "False", "Unschedulable"))
    pool("delete", "submodel", "wide")


NOWHERE = {"storageUri": "https://nobody.invalid/model.tar"}


def service(name: str) -> Manifest:
    ports = [{"port": 80, "targetPort": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "somebody-else"}, "ports": ports},
    }


def deployment(name: str) -> Manifest:
    labels = {"app": "somebody-else"}
    spec = {"containers": [{"name": "a", "image": "a"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def taken(pool: Kubectl, owner: str, blocker: Manifest, make: Callable[[], object]) -> None:
    """Somebody has the name that `owner` (kind/name) needs; it is told, never touched, and free again when
    it is gone."""
    kind, name = blocker["kind"], blocker["metadata"]["name"]
    pool.apply(json.dumps(blocker))
    before = pool.get(kind, name)
    make()
    thing = owner.split("/")
    told = ("Ready", "False", "ForeignObject")
    seconds, said = timed(lambda: said_of(pool, thing[0], thing[1], told), MOST, "the name is taken")
    show(f"somebody's {kind} of the same name", seconds, said)
    assert f"{kind} {name} is there" in said["message"]
    said_of(pool, thing[0], thing[1], ("Stalled", "True", "ForeignObject"))
    assert pool.get(kind, name)["metadata"] == before["metadata"]
    assert pool.get(kind, name)["spec"] == before["spec"]
    pool("delete", kind, name)

    def free() -> Manifest:
        found = pool.get(thing[0], thing[1])
        assert condition(found, "Ready")["reason"] != "ForeignObject"
        assert pool.get(kind, name)["metadata"]["uid"] != before["metadata"]["uid"]
        return found

    seconds, found = timed(free, FOREIGN_AGAIN, "the name is free again, and taken by its own")
    show("it is deleted", seconds, condition(found, "Ready"))


def test_the_service_of_a_sub_model_is_somebody_elses(pool: Kubectl) -> None:
    late = json.dumps(member("late", replicas=0, model=NOWHERE))
    taken(pool, "submodel/late", service("late-m"), lambda: pool.apply(late))
    pool("delete", "submodel", "late")


def test_the_deployment_of_a_sub_model_is_somebody_elses(pool: Kubectl) -> None:
    again = json.dumps(member("again", replicas=0, model=NOWHERE))
    pool.apply(again)
    found = eventually(
        lambda: pool.list_of("deployments", "fastserve.io/submodel=again") or None, MOST, "its Deployment"
    )
    pool("delete", "submodel", "again")
    name = found[0]["metadata"]["name"]
    eventually(lambda: pool.find("deployment", name) is None, MOST, "it is gone with its owner")
    taken(pool, "submodel/again", deployment(name), lambda: pool.apply(again))
    pool("delete", "submodel", "again")


def test_the_service_of_a_pool_is_somebody_elses(pool: Kubectl) -> None:
    document = {"apiVersion": "fastserve.io/v1alpha1", "kind": "ModelPool", "metadata": {"name": "second"}}
    taken(pool, "modelpool/second", service("second"), lambda: pool.apply(json.dumps(document)))
    pool("delete", "modelpool", "second")


def test_children_that_are_edited_or_deleted_by_hand(pool: Kubectl) -> None:
    pool.apply(json.dumps(member("kept", replicas=0, model=NOWHERE)))
    service_of = eventually(lambda: pool.find("service", "kept-m"), MOST, "its Service")
    pool("delete", "service", "kept-m")

    def back() -> Manifest:
        found = pool.get("service", "kept-m")
        assert found["metadata"]["uid"] != service_of["metadata"]["uid"]
        return found

    seconds, _ = timed(back, MOST, "the Service is back")
    print(f"{seconds:5.1f} s  kubectl delete service/kept-m -> it is back")
    pool("patch", "networkpolicy/news-p-router", "--type=merge", "-p", '{"spec":{"ingress":[]}}')

    def closed() -> Manifest:
        found = pool.get("networkpolicy", "news-p-router")
        assert found["spec"].get("ingress")
        return found

    seconds, _ = timed(closed, MOST, "the NetworkPolicy is as it was")
    print(f"{seconds:5.1f} s  kubectl patch networkpolicy/news-p-router -> it is as it was")
    must_be(pool, "submodel", "kept", "Accepted")
    pool("delete", "submodel", "kept")


def test_a_node_that_falls_silent(installed: Kubectl, pool: Kubectl) -> None:
    name = "story-13-faults"
    with fake.faked_node(installed, name):
        fake.apply(pool, fake.pool("far"), fake.sub_model("away", "far"))

        def runs() -> bool:
            pods = pool.list_of("pods", "fastserve.io/submodel=away")
            return any(pod["status"]["phase"] == "Running" for pod in pods)

        eventually(runs, 60, "its pod runs on a node that kwok plays")
        start = time.monotonic()
        fake.silence(installed, name)
        told = ("Ready", "False", "NodeLost")
        said = eventually(lambda: said_of(pool, "submodel", "away", told), 180, "the node is missed")
        noticed = time.time()
        (node,) = [
            one for one in installed.get("node", name)["status"]["conditions"] if one["type"] == "Ready"
        ]
        show("a node's kubelet falls silent", time.monotonic() - start, said)
        since = datetime.fromisoformat(node["lastTransitionTime"]).timestamp()
        print(f"         {max(0.0, noticed - since):.0f} s after Kubernetes gave it up ({node['reason']})")
        assert node["status"] == "Unknown"
        assert name in said["message"]
        assert noticed - since <= MOST
        pool("delete", "submodel/away", "modelpool/far", "--wait=false")
    eventually(lambda: pool.list_of("pods", "fastserve.io/pool=far") == [], 90, "its pods go with it")
