"""What the API server says to our CustomResourceDefinitions: every constraint, every rule, and its
agreement with our own reading."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from crds.api_server import ApiServer
from crds.corpus import Change, changes_of, manifest
from crds.edges import Edge, edges
from fastserve.api.crds import RULES, custom_resource_definitions
from fastserve.api.manifests import parse
from fastserve.api.problems import ManifestErrors
from harness.kubectl import Kubectl, KubectlFailed

pytestmark = pytest.mark.ci
EXAMPLES = 1200
"""Of each kind."""


@pytest.fixture(scope="module")
def server(definitions: Kubectl) -> Iterator[ApiServer]:
    with closing(ApiServer(definitions.kubeconfig)) as server:
        yield server


# What the other fields must say so that a right value of this one is right altogether.
COMPANIONS: dict[str, tuple[Change, ...]] = {
    "model.delivery": ((("model", "storageUri"), "oci://r.example/sport:1"),),
    "engine.labels": ((("engine", "type"), "Custom"),),
    "selection.topK": ((("combination", "minMembers"), 1),),
    "combination.minMembers": ((("selection", "topK"), 16),),
    "router.tls.clientCaSecretName": ((("router", "tls", "secretName"), "certificate"),),
    "router.tracing.samplingRatio": ((("router", "tracing", "endpoint"), "http://collector:4318"),),
    "selection.fallback.subModel": ((("selection", "fallback", "type"), "SubModel"),),
    "autoscaling.warmWindows.[].": (
        (("autoscaling", "maxReplicas"), 1),
        (("autoscaling", "warmWindows"), [{"start": "08:00", "end": "18:00"}]),
    ),
    "autoscaling.": ((("autoscaling", "maxReplicas"), 1000),),
}
# An edge that the type alone allows and a rule of several fields then refuses, with what it needs.
_SOURCE = {"secretKeyRef": {"name": "secret", "key": "key"}}
WHOLE: dict[str, Any] = {
    "examples type": ["a text"],
    "podTemplate.env.[].valueFrom type": _SOURCE,
    "router.podTemplate.env.[].valueFrom type": _SOURCE,
    "combination.method enum": "Vote",
    "selection.fallback.type enum": "Reject",
    "selection.fallback type": {"type": "Reject"},
    "examplesFrom type": {"configMap": {"name": "texts"}},
}


def right_of(edge: Edge) -> tuple[Change, ...]:
    name = ".".join(edge.field)
    value = WHOLE.get(f"{name} {edge.keyword}", edge.right)
    if edge.keyword == "required" and name.endswith("KeyRef"):
        value = _SOURCE["secretKeyRef"]
    companions = next((more for field, more in COMPANIONS.items() if name.startswith(field)), ())
    return (*companions, *_siblings(edge), (edge.field, value))


def _siblings(edge: Edge) -> tuple[Change, ...]:
    """A field inside an object that requires others is tried with those in place."""
    *above, last = edge.field
    if "examplesFrom" in edge.field and last == "key":
        return ((("examplesFrom", "configMap", "name"), "texts"),)
    if "env" not in above:
        return ()
    base = edge.field[: above.index("env") + 2]
    named: Change = ((*base, "name"), "X")
    if "valueFrom" not in above:
        return (named,)
    source = edge.field[: above.index("valueFrom") + 2]
    return (named, (source, {"name": "secret", "key": "key"}))


def all_edges() -> list[Any]:
    return [pytest.param(edge, id=str(edge)) for edge in edges()]


@pytest.mark.parametrize("edge", all_edges())
def test_each_constraint_lets_in_what_is_at_it(server: ApiServer, edge: Edge) -> None:
    assert server.judge(manifest(edge.kind, right_of(edge))) == ""


@pytest.mark.parametrize("edge", all_edges())
def test_each_constraint_keeps_out_what_is_past_it(server: ApiServer, edge: Edge) -> None:
    verdict = server.judge(manifest(edge.kind, (*right_of(edge)[:-1], (edge.field, edge.wrong))))
    assert verdict.startswith("4"), "the API server let it in"
    assert edge.field[-1].strip("[]") in verdict


def spec_of(kind: str, *changes: Change) -> dict[str, Any]:
    return manifest(kind, changes)


RULE_CASES: dict[tuple[str, int], tuple[dict[str, Any], dict[str, Any]]] = {}


def case(document: str, number: int, right: dict[str, Any], wrong: dict[str, Any]) -> None:
    RULE_CASES[document, number] = (right, wrong)


def named(kind: str, name: str) -> dict[str, Any]:
    written = spec_of(kind)
    return {**written, "metadata": {**written["metadata"], "name": name}}


for _kind in ("ModelPool", "SubModel"):
    case(_kind, 0, named(_kind, "a" * 40), named(_kind, "a" * 41))
    case(_kind, 1, named(_kind, "a-b"), named(_kind, "a.b"))
case(
    "Fallback",
    0,
    spec_of("ModelPool", (("selection", "fallback"), {"type": "SubModel", "subModel": "sport"})),
    spec_of("ModelPool", (("selection", "fallback"), {"type": "SubModel"})),
)
case(
    "ModelPoolSpec",
    0,
    spec_of("ModelPool", (("task",), "Embedding"), (("combination", "method"), "WeightedMean")),
    spec_of("ModelPool", (("task",), "Embedding"), (("combination", "method"), "Vote")),
)
case(
    "ModelPoolSpec",
    1,
    spec_of("ModelPool", (("combination", "minMembers"), 2)),
    spec_of("ModelPool", (("combination", "minMembers"), 3)),
)
case(
    "ExamplesFrom",
    0,
    spec_of("SubModel", (("examplesFrom",), {"configMap": {"name": "texts"}})),
    spec_of("SubModel", (("examplesFrom",), {"configMap": {"name": "t"}, "storageUri": "file:///x"})),
)
case(
    "Engine",
    0,
    spec_of("SubModel", (("engine",), {"type": "Custom", "labels": ["yes", "no"]})),
    spec_of("SubModel", (("engine",), {"labels": ["yes", "no"]})),
)
_IMAGE = {"storageUri": "oci://r.example/sport:1", "delivery": "ImageVolume"}
_DIGEST = "sha256:" + "0" * 64
_BY_DIGEST = {**_IMAGE, "storageUri": f"oci://r.example/sport@{_DIGEST}", "digest": _DIGEST}
case(
    "Model",
    0,
    spec_of("SubModel", (("model",), _IMAGE)),
    # Docker Hub's folder "registry" to who pulls, and a host to who fetches.
    spec_of("SubModel", (("model",), {**_IMAGE, "storageUri": "oci://registry/sport:1"})),
)
case(
    "Model",
    1,
    spec_of("SubModel", (("model",), {**_IMAGE, "delivery": "Fetch", "credentials": {"secretName": "s"}})),
    spec_of("SubModel", (("model",), {**_IMAGE, "credentials": {"secretName": "s"}})),
)
case(
    "Model",
    2,
    spec_of("SubModel", (("model",), _BY_DIGEST)),
    spec_of("SubModel", (("model",), {**_IMAGE, "digest": _DIGEST})),
)
case(
    "Autoscaling",
    0,
    spec_of("SubModel", (("autoscaling",), {"minReplicas": 2, "maxReplicas": 2})),
    spec_of("SubModel", (("autoscaling",), {"minReplicas": 2, "maxReplicas": 1})),
)
_ENV = ("podTemplate", "env")
_REFERENCE = {"name": "secret", "key": "key"}
case(
    "EnvSource",
    0,
    spec_of("SubModel", (_ENV, [{"name": "X", "valueFrom": {"secretKeyRef": _REFERENCE}}])),
    spec_of("SubModel", (_ENV, [{"name": "X", "valueFrom": {}}])),
)
case(
    "EnvVar",
    0,
    spec_of("SubModel", (_ENV, [{"name": "X", "value": "v"}])),
    spec_of("SubModel", (_ENV, [{"name": "X", "value": "v", "valueFrom": {"secretKeyRef": _REFERENCE}}])),
)
case(
    "EnvVar",
    1,
    spec_of("SubModel", (_ENV, [{"name": "NCCL_DEBUG", "value": "INFO"}])),
    spec_of("SubModel", (_ENV, [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}])),
)
for _number, _field in enumerate(("labels", "annotations")):
    case(
        "PodTemplate",
        _number,
        spec_of("SubModel", (("podTemplate", _field), {"team": "news"})),
        spec_of("SubModel", (("podTemplate", _field), {"fastserve.io/pool": "news"})),
    )
case(
    "SubModelSpec",
    0,
    spec_of("SubModel", (("engine",), {"type": "Custom"})),
    spec_of("SubModel", (("engine",), {"type": "Custom"}), (("parallelism", "tensor"), 2)),
)
case(
    "SubModelSpec",
    1,
    spec_of("SubModel", (("examples",), []), (("examplesFrom",), {"configMap": {"name": "texts"}})),
    spec_of("SubModel", (("examples",), [])),
)
case(
    "SubModelSpec",
    2,
    spec_of("SubModel", (("gpu",), {}), (("parallelism", "tensor"), 2)),
    spec_of("SubModel", (("gpu", "resourceName"), "nvidia.com/mig-1g.5gb"), (("parallelism", "tensor"), 2)),
)


def test_every_rule_has_a_case() -> None:
    rules = {(document, number) for document, found in RULES.items() for number in range(len(found))}
    assert rules - {("PoolRef", 0)} == RULE_CASES.keys()


@pytest.mark.parametrize(("document", "number"), RULE_CASES)
def test_each_rule_lets_in_what_is_right_and_keeps_out_what_is_not(
    server: ApiServer, document: str, number: int
) -> None:
    right, wrong = RULE_CASES[document, number]
    assert server.judge(right) == ""
    assert RULES[document][number].message in server.judge(wrong)


def test_the_pool_of_a_sub_model_cannot_change(namespace: Kubectl, definitions: Kubectl) -> None:
    namespace.apply(json.dumps(_in(namespace, spec_of("SubModel"))))
    with pytest.raises(KubectlFailed, match="immutable"):
        namespace("patch", "fss", "sample", "--type=merge", "-p", '{"spec":{"poolRef":{"name":"other"}}}')


def _in(namespace: Kubectl, written: dict[str, Any]) -> dict[str, Any]:
    return {**written, "metadata": {**written["metadata"], "namespace": namespace.namespace}}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["ModelPool", "SubModel"])
def test_the_api_server_and_our_own_reading_agree(server: ApiServer, kind: str) -> None:
    verdicts: dict[bool, int] = {True: 0, False: 0}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(changes_of(kind))
    def agree(changes: tuple[Change, ...]) -> None:
        written = manifest(kind, changes)
        theirs, ours = server.judge(written), _our_verdict(written)
        assert bool(theirs) == bool(ours), f"the API server: {theirs or 'right'}\nwe: {ours or 'right'}"
        verdicts[not theirs] += 1

    agree()
    print(f"{kind}: {verdicts[True]} right, {verdicts[False]} wrong, and both said so of each")
    assert verdicts[True] > EXAMPLES // 10


def _our_verdict(written: dict[str, Any]) -> str:
    try:
        parse(json.dumps(written), "sample.yaml")
    except ManifestErrors as errors:
        return str(errors)
    return ""


def test_kubectl_explain_has_words_for_every_field(definitions: Kubectl) -> None:
    for name in ("modelpools", "submodels"):
        told = definitions("explain", name, "--recursive")
        for field in _names(name):
            assert field in told


def _names(plural: str) -> Iterator[str]:
    for crd in custom_resource_definitions():
        if crd["spec"]["names"]["plural"] == plural:
            properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
            yield from properties["spec"]["properties"]
            yield from properties["status"]["properties"]


def test_kubectl_scale_writes_replicas_and_nothing_else(namespace: Kubectl, definitions: Kubectl) -> None:
    namespace.apply(json.dumps(_in(namespace, spec_of("SubModel"))))
    before = namespace.get("submodel", "sample")["spec"]
    namespace("scale", "submodel", "sample", "--replicas=3")
    assert namespace.get("submodel", "sample")["spec"] == {**before, "replicas": 3}


def test_short_names_and_the_category_list_both_kinds(namespace: Kubectl, definitions: Kubectl) -> None:
    namespace.apply(json.dumps(_in(namespace, spec_of("ModelPool"))))
    namespace.apply(json.dumps(_in(namespace, spec_of("SubModel"))))
    told = namespace("get", "fastserve")
    assert "modelpool.fastserve.io/sample" in told
    assert "submodel.fastserve.io/sample" in told
    assert "READY" in namespace("get", "fsp,fss", "-o", "wide")
