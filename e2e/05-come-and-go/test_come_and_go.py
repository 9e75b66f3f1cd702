import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.asking import forwarded, predict
from harness.example import documents, load_models
from harness.kubectl import Kubectl
from harness.questions import Questions, asked_steadily, pods_of, settled
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
    with asked_steadily(pool, QUESTIONS, PER_SECOND) as asking:
        yield asking


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
