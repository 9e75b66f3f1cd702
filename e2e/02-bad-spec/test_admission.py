import json
from typing import Any

import pytest

from harness.example import member
from harness.kubectl import Kubectl

pytestmark = [pytest.mark.ci, pytest.mark.timeout(120)]

SHARED = {"gpu": {"resourceName": "nvidia.com/mig-1g.10gb"}, "parallelism": {"tensor": 2}}
KEY = {"name": "texts", "key": "examples"}


def pool(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": "bad"},
        "spec": spec,
    }


def named(name: str) -> dict[str, Any]:
    return {**pool(), "metadata": {"name": name}}


POOLS = {
    "a misspelt field": (pool(selection={"topk": 2}), 'unknown field "spec.selection.topk"'),
    "a policy that there is not": (pool(selection={"policy": "Nearest"}), 'Unsupported value: "Nearest"'),
    "no member for a request": (pool(selection={"topK": 0}), "spec.selection.topK"),
    "a score over 1": (pool(selection={"minScore": "1.5"}), "spec.selection.minScore"),
    "a score that is a number": (pool(selection={"minScore": 0.5}), "must be of type string"),
    "a task that there is not": (pool(task="Translation"), "spec.task"),
    "a method for other answers": (
        pool(task="Embedding", combination={"method": "Vote"}),
        "combination.method does not fit task",
    ),
    "more answers than askers": (
        pool(selection={"topK": 2}, combination={"minMembers": 3}),
        "no request could ever be answered",
    ),
    "a fallback to nobody": (
        pool(selection={"fallback": {"type": "SubModel"}}),
        "subModel is required with type SubModel",
    ),
    "a fallback to nobody in particular": (
        pool(selection={"fallback": {"subModel": "world"}}),
        "subModel is required with type SubModel",
    ),
    "no door": (pool(router={"standbyReplicas": 0}), "spec.router.standbyReplicas"),
    "a deadline of zero": (pool(combination={"deadlineMillis": 0}), "spec.combination.deadlineMillis"),
    "a label of ours": (
        pool(router={"podTemplate": {"labels": {"fastserve.io/pool": "other"}}}),
        "are set by FastServe",
    ),
    "a name with a dot": (named("bad.name"), "must not contain a dot"),
    "a name of 41 letters": (named("n" * 41), "at most 40 characters"),
}

SUB_MODELS = {
    "no examples": (member("bad", examples=[]), "examples or examplesFrom is required"),
    "an empty example": (member("bad", examples=[""]), "spec.examples[0]"),
    "examples from two places": (
        member("bad", examplesFrom={"configMap": KEY, "storageUri": "file:///texts"}),
        "exactly one of storageUri and configMap",
    ),
    "no model": (member("bad", model={}), "spec.model.storageUri"),
    "an unknown scheme": (member("bad", model={"storageUri": "ftp://host/model"}), "spec.model.storageUri"),
    "a password in a URI": (
        member("bad", model={"storageUri": "https://me:secret@host/model.tar"}),
        "spec.model.storageUri",
    ),
    "a digest of another kind": (
        member("bad", model={"storageUri": "pvc://models/sport", "digest": "md5:0"}),
        "spec.model.digest",
    ),
    "a limit that is no quantity": (
        member("bad", model={"storageUri": "pvc://models/sport", "sizeLimit": "lots"}),
        "spec.model.sizeLimit",
    ),
    "less than no replicas": (member("bad", replicas=-1), "spec.replicas"),
    "no rank": (member("bad", parallelism={"tensor": 0}), "spec.parallelism.tensor"),
    "two ranks on a part of a GPU": (member("bad", **SHARED), "parallelism.tensor over 1 needs whole GPUs"),
    "two ranks of a user's own model": (
        member("bad", engine={"type": "Custom"}, parallelism={"tensor": 2}),
        "engine.type Custom cuts nothing",
    ),
    "labels of a Torch model": (member("bad", engine={"labels": ["a"]}), "labels are only for type Custom"),
    "a variable of ours": (
        member("bad", podTemplate={"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]}),
        "this name is set by FastServe",
    ),
    "a variable with two values": (
        member(
            "bad",
            podTemplate={"env": [{"name": "A", "value": "1", "valueFrom": {"configMapKeyRef": KEY}}]},
        ),
        "value and valueFrom exclude each other",
    ),
    "a variable twice": (
        member("bad", podTemplate={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
        "Duplicate value",
    ),
    "a toleration that there is not": (
        member("bad", podTemplate={"tolerations": [{"operator": "Maybe"}]}),
        "spec.podTemplate.tolerations[0].operator",
    ),
}


@pytest.mark.parametrize("case", [*POOLS, *SUB_MODELS])
def test_what_a_schema_can_see_is_refused_where_it_is_typed(
    case: str, definitions: Kubectl, namespace: Kubectl
) -> None:
    document, fragment = {**POOLS, **SUB_MODELS}[case]
    refused = namespace.attempt("apply", "-f", "-", stdin=json.dumps(document))
    said = " ".join(refused.stderr.split())
    print(f"{case} -> {said}")
    assert refused.returncode != 0
    assert fragment in said
    assert namespace.list_of("modelpools,submodels") == []


def test_a_sub_model_stays_in_its_pool(definitions: Kubectl, namespace: Kubectl) -> None:
    namespace.apply(json.dumps(member("settled", replicas=0)))
    try:
        refused = namespace.attempt(
            "patch", "submodel/settled", "--type=merge", "-p", '{"spec":{"poolRef":{"name":"other"}}}'
        )
        print(f"another pool -> {' '.join(refused.stderr.split())}")
        assert refused.returncode != 0
        assert "poolRef.name is immutable" in refused.stderr
        below = namespace.attempt("scale", "submodel/settled", "--replicas=-1")
        print(f"kubectl scale below zero -> {below.stderr.strip()}")
        assert below.returncode != 0
    finally:
        namespace("delete", "submodel/settled")
