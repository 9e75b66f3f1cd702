import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asking import forwarded, predict
from harness.example import documents, load_models
from harness.kubectl import Kubectl, Manifest
from harness.release import images
from harness.statuses import must_be
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(1200)

PER_SECOND = 10
QUESTIONS = [
    {"text": "The striker scored twice in the cup final.", "member": "sport", "label": "football"},
    {
        "text": "The central bank raised its interest rate by a quarter of a point.",
        "member": "business",
        "label": "economy",
    },
    {"text": "She won the tie-break after saving two match points.", "member": "sport", "label": "tennis"},
]
WORLD = "Rebels fired shells at the city during the night."
HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


PYTHON = "/opt/fastserve/venv/bin/python"
COMMAND = [PYTHON, "/load/load.py", "http://news", "/load/questions.json", str(PER_SECOND)]


def questioner() -> dict[str, Any]:
    """A pod that asks until it is deleted."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "questions"},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "questions",
                    "image": images()["operator"],
                    "command": COMMAND,
                    "securityContext": HARDENED,
                    "resources": {"requests": {"cpu": "50m"}},
                    "volumeMounts": [{"name": "load", "mountPath": "/load"}],
                }
            ],
            "volumes": [{"name": "load", "configMap": {"name": "load"}}],
        },
    }


class Questions:
    """What became of the questions so far."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._kubectl("logs", "questions").splitlines()]

    def totals(self) -> dict[str, Any]:
        return next(line for line in reversed(self.lines()) if "totals" in line)

    def bad(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "outcome" in line]

    def after(self, step: str, seconds: float) -> None:
        """Print how it stands after a step; wait until questions have come that were asked after it."""
        asked = self.totals()["asked"]
        eventually(lambda: self.totals()["asked"] >= asked + 3 * PER_SECOND or None, 60, "more questions")
        print(f"{step} ({seconds:.1f} s): {json.dumps(self.totals())}")
        for line in self.bad():
            print(f"   {json.dumps(line)}")
        assert self.bad() == [], step


def pods_of(kubectl: Kubectl, name: str) -> list[Manifest]:
    return kubectl.list_of("pods", f"fastserve.io/submodel={name}")


def settled(kubectl: Kubectl, name: str, pods: int) -> None:
    """Wait until the sub-model is Ready and has so many pods, those that end included."""
    eventually(lambda: must_be(kubectl, "submodel", name, "Ready"), 300, f"{name} is Ready")
    eventually(lambda: len(pods_of(kubectl, name)) == pods or None, 120, f"{name} has {pods} pods")


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Kubectl:
    load_models(namespace, checkpoints)
    known = documents()
    known["news"]["spec"]["combination"] = {"deadlineMillis": 15000}
    for name in ("news", "sport", "business"):
        namespace.apply(json.dumps(known[name]))
    eventually(lambda: must_be(namespace, "modelpool", "news", "Ready"), 300, "the pool is Ready")
    return namespace


@pytest.fixture(scope="module")
def questions(pool: Kubectl) -> Iterator[Questions]:
    script = Path(__file__).with_name("load.py").read_text()
    data = {"load.py": script, "questions.json": json.dumps(QUESTIONS)}
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "load"}, "data": data}
    pool.apply(json.dumps(about))
    pool.apply(json.dumps(questioner()))
    pool("wait", "--for=condition=Ready", "pod/questions", "--timeout=60s", seconds=70)
    asking = Questions(pool)
    eventually(lambda: any("totals" in line for line in asking.lines()) or None, 30, "the first totals")
    yield asking
    pool("delete", "pod", "questions", "--wait=false")


def test_at_rest_every_question_has_its_right_answer(pool: Kubectl, questions: Questions) -> None:
    questions.after("at rest", 0)


def test_a_third_is_added(pool: Kubectl, questions: Questions) -> None:
    start = time.monotonic()
    pool.apply(json.dumps(documents()["world"]))
    settled(pool, "world", 1)
    with forwarded(pool, "service/news", 80) as url:

        def answered() -> bool:
            answer = predict(url, WORLD)
            return (answer["members"][0]["name"], answer["label"]) == ("world", "conflict")

        eventually(answered, 60, "its own questions are its own")
    questions.after("added world", time.monotonic() - start)


def test_one_becomes_two_and_one_again(pool: Kubectl, questions: Questions) -> None:
    for replicas in (2, 1):
        start = time.monotonic()
        pool("scale", "submodel", "sport", f"--replicas={replicas}")
        settled(pool, "sport", replicas)
        questions.after(f"sport to {replicas}", time.monotonic() - start)


def _active(pool: Kubectl, name: str) -> str:
    version: str = pool.get("submodel", name)["status"]["activeVersion"]
    return version


def test_weights_are_exchanged_in_the_running_pod(pool: Kubectl, questions: Questions) -> None:
    start, (before,) = time.monotonic(), pods_of(pool, "business")
    change = {"spec": {"model": {"version": "another"}}}
    pool("patch", "submodel", "business", "--type=merge", "-p", json.dumps(change))
    eventually(lambda: _active(pool, "business") == "another", 300, "business answers with it alone")
    settled(pool, "business", 1)
    (after,) = pods_of(pool, "business")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    questions.after("business exchanged in place", time.monotonic() - start)


def test_pods_are_replaced(pool: Kubectl, questions: Questions) -> None:
    start, (before,) = time.monotonic(), pods_of(pool, "business")
    pool("annotate", "submodel", "business", f"fastserve.io/restarted-at={time.time():.0f}")
    eventually(lambda: len(pods_of(pool, "business")) == 2 or None, 30, "another pod is made")
    settled(pool, "business", 1)
    (after,) = pods_of(pool, "business")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    questions.after("business restarted", time.monotonic() - start)


def test_the_third_is_removed(pool: Kubectl, questions: Questions) -> None:
    start = time.monotonic()
    pool("delete", "submodel", "world")
    eventually(lambda: not pods_of(pool, "world") or None, 120, "its pods are gone")
    questions.after("removed world", time.monotonic() - start)


def test_a_pod_is_deleted_by_hand(pool: Kubectl, questions: Questions) -> None:
    start = time.monotonic()
    pool("scale", "submodel", "sport", "--replicas=2")
    settled(pool, "sport", 2)
    gone = pods_of(pool, "sport")[0]["metadata"]["name"]
    pool("delete", "pod", gone)
    settled(pool, "sport", 2)
    assert gone not in {one["metadata"]["name"] for one in pods_of(pool, "sport")}
    questions.after("a pod of sport deleted", time.monotonic() - start)
