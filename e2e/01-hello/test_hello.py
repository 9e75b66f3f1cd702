import json
import time
import urllib.request
from pathlib import Path

import pytest

from harness.asking import forwarded, predict
from harness.example import apply_pool, load_models
from harness.kubectl import Kubectl
from harness.statuses import condition, is_so, must_be
from harness.waiting import eventually

pytestmark = [pytest.mark.ci, pytest.mark.timeout(900)]

QUESTIONS = {
    "The striker scored twice in the cup final.": ("sport", "football"),
    "The central bank raised its interest rate by a quarter of a point.": ("business", "economy"),
    "Astronomers saw a comet pass close to the planet.": ("science", "space"),
    "Rebels fired shells at the city during the night.": ("world", "conflict"),
}


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Kubectl:
    load_models(namespace, checkpoints)
    return namespace


def test_from_apply_to_the_first_true_answer(pool: Kubectl) -> None:
    start = time.monotonic()
    apply_pool(pool)
    eventually(lambda: must_be(pool, "modelpool", "news", "Ready"), 600, "the pool is Ready")
    with forwarded(pool, "service/news", 80) as url:
        answer = predict(url, "The striker scored twice in the cup final.")
        seconds = time.monotonic() - start
        loading = max(_load_seconds(pool))
        print(f"apply -> first answer: {seconds:.1f} s, of them {loading:.1f} s the slowest load")
        assert answer["label"] == "football"
        for text, (member, label) in QUESTIONS.items():
            answer = predict(url, text)
            assert (answer["members"][0]["name"], answer["label"]) == (member, label), answer


def _load_seconds(pool: Kubectl) -> list[float]:
    """What each router measured for its own Triton."""
    seconds = []
    for pod in pool.list_of("pods", "fastserve.io/role=member"):
        with (
            forwarded(pool, f"pod/{pod['metadata']['name']}", 8081) as url,
            urllib.request.urlopen(f"{url}/v1/state", timeout=5) as response,
        ):
            seconds.append(float(json.load(response)["model"]["loadSeconds"]))
    return seconds


def test_both_kinds_tell_the_whole_truth(pool: Kubectl) -> None:
    news = pool.get("modelpool", "news")
    assert news["status"]["observedGeneration"] == news["metadata"]["generation"]
    assert news["status"]["readyMembers"] == "4/4"
    assert {one["name"] for one in news["status"]["members"] if one["ready"]} == {
        "business",
        "science",
        "sport",
        "world",
    }
    assert news["status"]["url"].startswith(f"http://news.{pool.namespace}.svc")
    for name in ("business", "science", "sport", "world"):
        member = pool.get("submodel", name)
        assert is_so(member, "Ready")
        assert condition(member, "Reconciling") == {}
        assert member["status"]["load"]["phase"] == "Loaded"
        assert member["status"]["placement"][0]["node"]
        assert member["status"]["activeVersion"]


def test_the_columns_say_so_too(pool: Kubectl) -> None:
    told = pool("get", "fsp,fss", "-o", "wide")
    print(told)
    assert "4/4" in told
    assert told.count("True") == 5


def test_every_pod_passes_pod_security_restricted(pool: Kubectl) -> None:
    space = pool.get("namespace", pool.namespace)
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(pool.list_of("pods")) == 5
