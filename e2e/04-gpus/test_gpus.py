import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.asking import forwarded, predict
from harness.example import documents, load_models
from harness.kubectl import Kubectl, KubectlFailed, Manifest
from harness.statuses import condition, must_be, told
from harness.waiting import eventually
from harness.watching import watched

pytestmark = pytest.mark.timeout(900)

GPU = "nvidia.com/gpu"
SPORT = "The striker scored twice in the cup final."


def asking(name: str, tensor: int = 2, **spec: Any) -> str:
    """The example's sub-model of that name, on GPUs."""
    document = documents()[name]
    document["spec"].update({"parallelism": {"tensor": tensor}, "gpu": {}, **spec})
    return json.dumps(document)


def gpus_of(pod: Manifest) -> int:
    """GPUs that a pod asks for; one that ended asks for none."""
    if pod.get("status", {}).get("phase") in {"Failed", "Succeeded"}:
        return 0
    containers = pod["spec"]["containers"]
    return sum(int(one["resources"].get("limits", {}).get(GPU, 0)) for one in containers)


def pods_of(kubectl: Kubectl, name: str) -> list[Manifest]:
    return kubectl.list_of("pods", f"fastserve.io/submodel={name}")


def not_ready_because(kubectl: Kubectl, name: str, reason: str) -> Manifest:
    thing = kubectl.get("submodel", name)
    said = condition(thing, "Ready")
    assert (said.get("status"), said.get("reason")) == ("False", reason), told(kubectl, "submodel", name)
    return thing


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Kubectl:
    load_models(namespace, checkpoints)
    namespace.apply(json.dumps(documents()["news"]))
    return namespace


@pytest.fixture(scope="module")
def sport(pool: Kubectl) -> Manifest:
    """Two ranks that may do with CPUs."""
    start = time.monotonic()
    pool.apply(asking("sport", engine={"allowCpu": True}))
    ready = eventually(lambda: must_be(pool, "submodel", "sport", "Ready"), 300, "sport is Ready")
    print(f"apply -> Ready with two ranks: {time.monotonic() - start:.1f} s")
    return ready


@pytest.fixture(scope="module")
def blind(pool: Kubectl, sport: Manifest) -> Manifest:
    """Two ranks that want their GPUs."""
    pool.apply(asking("world"))
    return eventually(lambda: not_ready_because(pool, "world", "DeviceMissing"), 300, "no GPU is visible")


def test_two_ranks_take_two_of_the_four_gpus(pool: Kubectl, sport: Manifest) -> None:
    (pod,) = pods_of(pool, "sport")
    assert gpus_of(pod) == 2
    node = pool.get("node", pod["spec"]["nodeName"])
    assert node["status"]["allocatable"][GPU] == "4"
    (place,) = sport["status"]["placement"]
    print(f"placement: {json.dumps(place)}")
    assert (place["node"], place["phase"]) == (pod["spec"]["nodeName"], "Ready")
    assert [(one["rank"], one["device"]) for one in place["ranks"]] == [(0, "cpu"), (1, "cpu")]
    (memory,) = [one["emptyDir"] for one in pod["spec"]["volumes"] if one["name"] == "shared-memory"]
    assert memory["medium"] == "Memory"


def test_what_two_ranks_answer_is_right(pool: Kubectl, sport: Manifest) -> None:
    with forwarded(pool, "service/news", 80) as url:
        answer = eventually(lambda: predict(url, SPORT), 60, "the pool answers")
    assert (answer["label"], answer["members"][0]["name"]) == ("football", "sport")


def test_gpus_that_cannot_be_seen_are_missing(pool: Kubectl, blind: Manifest) -> None:
    failure = blind["status"]["lastFailure"]
    print(f"world: {told(pool, 'submodel', 'world')}\nlastFailure: {json.dumps(failure)}")
    assert failure["reason"] == "DeviceMissing"
    assert "cuda:0" in failure["message"]
    assert "0 GPUs are visible" in failure["message"]
    assert condition(blind, "PlacementReady")["status"] == "True"


def test_a_third_is_pending_in_the_schedulers_own_words(
    pool: Kubectl, sport: Manifest, blind: Manifest
) -> None:
    start = time.monotonic()
    pool.apply(asking("business", engine={"allowCpu": True}))
    third = eventually(
        lambda: not_ready_because(pool, "business", "Unschedulable"), 15, "it cannot be placed"
    )
    print(f"apply -> the status says Pending and why: {time.monotonic() - start:.1f} s")
    (pod,) = pods_of(pool, "business")
    (said,) = [one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert f"Insufficient {GPU}" in said["message"]
    assert condition(third, "PlacementReady")["message"].startswith(said["message"])
    assert condition(third, "Ready")["message"].startswith(said["message"])
    (place,) = third["status"]["placement"]
    assert (place["phase"], place["message"]) == ("Pending", said["message"])
    assert condition(third, "Stalled") == {}

    def in_the_pool() -> Manifest:
        listed = {one["name"]: one for one in pool.get("modelpool", "news")["status"]["members"]}
        assert f"Insufficient {GPU}" in listed["business"]["message"], listed
        return listed["business"]

    shown = eventually(in_the_pool, 15, "the pool says so too")
    assert not shown["ready"]
    assert sum(gpus_of(one) for one in pool.list_of("pods") if one["spec"].get("nodeName")) == 4
    print(pool("get", "fsp,fss", "-o", "wide"))
    print(pool("describe", "submodel", "business").partition("Status:")[2])


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ({"product": "NVIDIA-B200"}, "nvidia.com/gpu.product NVIDIA-B200"),
        ({"memory": "200Gi"}, "nvidia.com/gpu.memory above 204799"),
    ],
)
def test_a_gpu_that_no_node_has_is_named(pool: Kubectl, gpu: dict[str, str], words: str) -> None:
    pool.apply(asking("science", tensor=1, gpu=gpu))
    thing = eventually(lambda: not_ready_because(pool, "science", "Unschedulable"), 15, "it cannot be placed")
    message = condition(thing, "PlacementReady")["message"]
    print(f"{gpu}: {message}")
    assert "node affinity" in message
    assert words in message
    pool("delete", "submodel", "science")


def test_a_part_of_a_gpu_is_refused_for_two_ranks(pool: Kubectl) -> None:
    with pytest.raises(KubectlFailed) as refused:
        pool.apply(asking("science", gpu={"resourceName": "nvidia.com/mig-1g.10gb"}))
    print(refused.value)
    assert "parallelism.tensor over 1 needs whole GPUs" in str(refused.value)


def test_the_pods_on_gpus_end_before_their_successors_are_made(pool: Kubectl, sport: Manifest) -> None:
    pool("delete", "submodel", "world", "business", "science", "--ignore-not-found", "--wait")
    before = pool.get("submodel", "sport")["status"]["revision"]
    change = {"spec": {"podTemplate": {"annotations": {"example.org/try": "2"}}}}
    with watched(pool, "pods", "fastserve.io/submodel=sport") as pods:
        eventually(lambda: pods.events or None, 15, "the watch sees the pod")
        start = time.monotonic()
        pool("patch", "submodel", "sport", "--type=merge", "-p", json.dumps(change))
        eventually(lambda: must_be(pool, "submodel", "sport", "Ready"), 300, "the new revision is Ready")
        print(f"another revision -> Ready: {time.monotonic() - start:.1f} s")
    after = pool.get("submodel", "sport")["status"]["revision"]
    assert after != before
    asked = [sum(map(gpus_of, there.values())) for there in pods.moments()]
    print(f"GPUs asked for, after each of {len(asked)} events: {asked}")
    assert max(asked) == 2
    assert 0 in asked, "the new pod was made while the old one still had its GPUs"
