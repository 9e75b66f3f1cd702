import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.example import documents, load_models
from harness.kubectl import Kubectl
from harness.questions import Questions, asked_steadily, pods_of, settled
from harness.statuses import must_be
from harness.trace import pods
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(2400)

PER_SECOND = 20
ENOUGH = 10_000
MEMBERS = ("sport", "business")
QUESTIONS = [
    {"text": "The striker scored twice in the cup final.", "member": "sport", "label": "football"},
    {
        "text": "The central bank raised its interest rate by a quarter of a point.",
        "member": "business",
        "label": "economy",
    },
    {"text": "She won the tie-break after saving two match points.", "member": "sport", "label": "tennis"},
]


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Kubectl:
    load_models(namespace, checkpoints)
    known = documents()
    known["news"]["spec"]["combination"] = {"deadlineMillis": 15000}
    for name in MEMBERS:
        known[name]["spec"]["replicas"] = 2
        # A new revision comes beside the old one: the test's node has room for six such pods.
        known[name]["spec"]["podTemplate"] = {"resources": {"requests": {"cpu": "50m"}}}
    for name in ("news", *MEMBERS):
        namespace.apply(json.dumps(known[name]))
    eventually(lambda: must_be(namespace, "modelpool", "news", "Ready"), 400, "the pool is Ready")
    return namespace


@pytest.fixture(scope="module")
def questions(pool: Kubectl) -> Iterator[Questions]:
    with asked_steadily(pool, QUESTIONS, PER_SECOND) as asking:
        yield asking


@pytest.mark.parametrize("name", MEMBERS)
def test_a_rolling_update_loses_nothing(pool: Kubectl, questions: Questions, name: str) -> None:
    start = time.monotonic()
    before = {one["metadata"]["uid"] for one in pods_of(pool, name)}
    pool("annotate", "submodel", name, f"fastserve.io/restarted-at={time.time():.0f}")
    eventually(lambda: len(pods_of(pool, name)) > 2 or None, 60, "another pod is made")
    settled(pool, name, 2)
    assert before.isdisjoint(one["metadata"]["uid"] for one in pods_of(pool, name))
    questions.after(f"{name} rolled out", time.monotonic() - start)


def test_a_scale_down_loses_nothing(pool: Kubectl, questions: Questions) -> None:
    for replicas in (3, 2):
        start = time.monotonic()
        pool("scale", "submodel", "sport", f"--replicas={replicas}")
        settled(pool, "sport", replicas)
        questions.after(f"sport to {replicas}", time.monotonic() - start)


def test_the_eviction_of_each_pod_in_turn_loses_nothing(pool: Kubectl, questions: Questions) -> None:
    for name in pods(pool):
        start = time.monotonic()
        eventually(lambda name=name: _evicted(pool, name), 300, f"{name} may be evicted")  # type: ignore[misc]
        eventually(lambda name=name: name not in pods(pool) or None, 120, f"{name} is gone")  # type: ignore[misc]
        for member in MEMBERS:
            settled(pool, member, 2)
        eventually(lambda: must_be(pool, "modelpool", "news", "Ready"), 120, "the pool is Ready")
        questions.after(f"{name} evicted", time.monotonic() - start)


def test_enough_was_asked(questions: Questions) -> None:
    eventually(lambda: questions.totals()["asked"] >= ENOUGH or None, 900, f"{ENOUGH} questions")
    questions.after("in all", 0)


def _evicted(pool: Kubectl, name: str) -> bool | None:
    """Whether the API server took it; None while a disruption budget says that it must wait."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{pool.namespace}/pods/{name}/eviction"
    said = pool.attempt("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    if said.returncode:
        assert "disruption budget" in said.stderr, said.stderr
    return said.returncode == 0 or None
