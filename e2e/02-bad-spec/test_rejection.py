import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asking import forwarded, predict
from harness.example import load_models, member
from harness.kubectl import Kubectl, Manifest
from harness.rows import said_of, show, timed
from harness.statuses import must_be
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(600)

QUESTION, ANSWER = "The striker scored twice in the cup final.", "football"
CHILDREN = (
    "deployments,controllerrevisions,services,configmaps,serviceaccounts,roles,rolebindings,"
    "networkpolicies,poddisruptionbudgets,pods"
)
MOST = 15
"""Seconds. The promise is five; the machine of the tests is small and busy."""


def pool(name: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": name},
        "spec": spec,
    }


def children(kubectl: Kubectl) -> dict[str, tuple[str, int]]:
    """Uid and generation of all that FastServe made in the namespace; of what has no generation, and whose
    content is all there is, the resource version; of a pod how often it started. The route table is the
    pool's, and names every sub-model that the operator accepted: it may change."""
    return {
        f"{thing['kind']}/{thing['metadata']['name']}": (thing["metadata"]["uid"], _state(thing))
        for thing in kubectl.list_of(CHILDREN, "app.kubernetes.io/part-of=fastserve")
    }


def _state(thing: Manifest) -> int:
    if thing["kind"] == "Pod":
        started = thing["status"].get("containerStatuses", []) + thing["status"].get(
            "initContainerStatuses", []
        )
        return sum(int(one["restartCount"]) for one in started)
    metadata = thing["metadata"]
    if metadata["name"].endswith("-p-routes"):
        return 0
    return int(metadata.get("generation") or (metadata["resourceVersion"] if "data" in thing else 0))


@pytest.fixture(scope="module")
def news(installed: Kubectl, namespace: Kubectl, checkpoints: Path) -> Kubectl:
    """The pool news, whose sport answers, and a pool of embeddings without pods."""
    load_models(namespace, checkpoints)
    for document in (
        pool("news"),
        member("sport", examples=[QUESTION, "The goalkeeper saved two penalties."]),
        pool("vectors", task="Embedding", suspend=True),
    ):
        namespace.apply(json.dumps(document))
    start = time.monotonic()
    eventually(lambda: must_be(namespace, "modelpool", "news", "Ready"), 300, "the neighbours are Ready")
    print(f"the neighbours are Ready after {time.monotonic() - start:.0f} s")
    return namespace


@pytest.fixture(scope="module")
def door(news: Kubectl) -> Iterator[str]:
    with forwarded(news, "service/news", 80) as url:
        yield url


FIELDS: dict[str, tuple[Manifest, str, str]] = {
    "file:// on a cluster": (
        member("bad", model={"storageUri": "file:///models/sport"}),
        "InvalidSpec",
        "spec.model.storageUri: file:// is for local mode (allowed: https, s3, gs, hf, oci, pvc)",
    ),
    "examples in a file": (
        member("bad", examplesFrom={"storageUri": "file:///texts"}),
        "InvalidSpec",
        "spec.examplesFrom.storageUri: file:// is for local mode (allowed: configMap)",
    ),
    "examples in no ConfigMap": (
        member("bad", examplesFrom={"configMap": {"name": "absent", "key": "texts"}}),
        "ExamplesMissing",
        "spec.examplesFrom.configMap: there is no ConfigMap absent with a key texts in this namespace",
    ),
    "examples under no key": (
        member("bad", examplesFrom={"configMap": {"name": "kube-root-ca.crt", "key": "texts"}}),
        "ExamplesMissing",
        "spec.examplesFrom.configMap: there is no ConfigMap kube-root-ca.crt with a key texts",
    ),
    "a pool that there is not": (
        member("bad", poolRef={"name": "nowhere"}),
        "PoolNotFound",
        "spec.poolRef.name: there is no ModelPool nowhere in this namespace",
    ),
    "an affinity that is none": (
        member(
            "bad",
            podTemplate={
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"terms": []}}
                }
            },
        ),
        "InvalidPodTemplate",
        "spec.podTemplate: the API server refuses the pods: ",
    ),
    "more CPU asked for than allowed": (
        member("bad", podTemplate={"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
        "InvalidPodTemplate",
        "spec.podTemplate: the API server refuses the pods: ",
    ),
    "a label that is none": (
        member("bad", podTemplate={"labels": {"team": "what is this?"}}),
        "InvalidPodTemplate",
        "spec.podTemplate: the API server refuses the pods: ",
    ),
    "labels where vectors are answered": (
        member("bad", poolRef={"name": "vectors"}, engine={"type": "Custom", "labels": ["a", "b"]}),
        "InvalidSpec",
        "spec.engine.labels: the members of a pool of task Embedding have no labels",
    ),
}

POOL_FIELDS: dict[str, tuple[Manifest, str, str]] = {
    "a fallback that is nobody": (
        pool("bad", selection={"fallback": {"type": "SubModel", "subModel": "nobody"}}),
        "InvalidSpec",
        "spec.selection.fallback.subModel: nobody is no sub-model of this pool",
    ),
    "a topology that is none": (
        pool("bad", router={"podTemplate": {"topologySpreadConstraints": [{"maxSkew": 0}]}}),
        "InvalidPodTemplate",
        "spec.router.podTemplate: the API server refuses the pods: ",
    ),
}


@pytest.mark.parametrize("case", [*FIELDS, *POOL_FIELDS])
def test_what_takes_other_objects_to_see_is_told_in_the_status(news: Kubectl, door: str, case: str) -> None:
    document, reason, message = {**FIELDS, **POOL_FIELDS}[case]
    kind, before = document["kind"].lower(), children(news)
    news.apply(json.dumps(document))
    try:
        told = ("Accepted", "False", reason)
        seconds, said = timed(lambda: said_of(news, kind, "bad", told), MOST, f"{case}: it is rejected")
        show(case, seconds, said)
        assert said["message"].startswith(message)
        said_of(news, kind, "bad", ("Ready", "False", reason))
        after = children(news)
        assert {name: after.get(name) for name in before} == before, f"{case}: the neighbours were touched"
        assert predict(door, QUESTION)["label"] == ANSWER
    finally:
        news("delete", kind, "bad")
    eventually(lambda: set(children(news)) == set(before), 30, f"{case}: nothing of it stays")


def test_a_degree_that_divides_nothing_is_told_by_the_engine(news: Kubectl, door: str) -> None:
    before = {name: one for name, one in children(news).items() if not name.startswith("ConfigMap/")}
    news.apply(
        json.dumps(member("bad", model={"storageUri": "pvc://models/world"}, parallelism={"tensor": 5}))
    )
    try:
        told = ("Accepted", "False", "InvalidSpec")
        seconds, said = timed(lambda: said_of(news, "submodel", "bad", told), 180, "the engine refuses it")
        noticed = time.time()
        show("five ranks", seconds, said)
        failure = news.get("submodel", "bad")["status"]["lastFailure"]
        reported = time.mktime(time.strptime(failure["time"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        print(f"       of them {noticed - reported:.0f} s after its router reported it")
        assert said["message"].startswith("spec.parallelism.tensor: 5 ranks do not divide this checkpoint")
        assert "allowed: 1, 2" in said["message"]
        said_of(news, "submodel", "bad", ("Stalled", "True", "InvalidSpec"))
        after = children(news)
        assert {name: after.get(name) for name in before} == before
        assert predict(door, QUESTION)["label"] == ANSWER
    finally:
        news("delete", "submodel", "bad")
    eventually(lambda: news.list_of("pods", "fastserve.io/submodel=bad") == [], 90, "its pod goes")


def test_a_pool_that_runs_runs_on_when_it_is_spoilt(news: Kubectl, door: str) -> None:
    eventually(lambda: must_be(news, "modelpool", "news", "Ready"), 60, "all is well before")
    before, edit = children(news), '{"spec":{"selection":{"fallback":%s}}}'
    spoilt = '{"type":"SubModel","subModel":"nobody"}'
    news("patch", "modelpool/news", "--type=merge", "-p", edit % spoilt)
    told = ("Accepted", "False", "InvalidSpec")
    seconds, said = timed(lambda: said_of(news, "modelpool", "news", told), MOST, "the edit is rejected")
    show("a running pool's fallback becomes nobody", seconds, said)
    assert children(news) == before
    assert predict(door, QUESTION)["label"] == ANSWER
    news("patch", "modelpool/news", "--type=merge", "-p", edit % '{"type":"Reject","subModel":null}')
    seconds, _ = timed(lambda: must_be(news, "modelpool", "news", "Ready"), MOST, "the pool is Ready again")
    print(f"{seconds:5.1f} s  the fallback is taken back -> Ready=True")
    assert children(news) == before


def test_what_was_missing_may_come_later(news: Kubectl) -> None:
    late = member("late", poolRef={"name": "tomorrow"}, examples=["a text"], replicas=0)
    news.apply(json.dumps(late))
    told = ("Accepted", "False", "PoolNotFound")
    timed(lambda: said_of(news, "submodel", "late", told), MOST, "its pool is missing")
    news.apply(json.dumps(pool("tomorrow", suspend=True)))
    accepted = ("Accepted", "True", "Accepted")
    seconds, said = timed(lambda: said_of(news, "submodel", "late", accepted), MOST, "its pool came")
    show("the pool that was missing is made", seconds, said)
    news("delete", "modelpool/tomorrow", "submodel/late")
