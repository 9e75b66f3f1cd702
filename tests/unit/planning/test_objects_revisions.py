"""Revisions: which changes replace pods, and the Deployment and ControllerRevision of each."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fastserve.api.submodel import SubModel
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.template import (
    member_revision,
    member_template,
    standby_revision,
    standby_template,
)
from fastserve.planning.objects.workloads import (
    controller_revision,
    deployment,
    kept_template,
    member_workload,
)
from make import pool, sub_model

SETTINGS = ObjectSettings(ImageSet("router:1", "triton:1"))

UNCHANGED: dict[str, dict[str, Any]] = {
    "version": {"model": {"storageUri": "hf://owner/model", "version": "2"}},
    "storageUri": {"model": {"storageUri": "hf://owner/another"}},
    "an image that is fetched": {"model": {"storageUri": "oci://r.example/a:1", "delivery": "Fetch"}},
    "digest": {"model": {"storageUri": "hf://owner/model", "digest": "sha256:" + "0" * 64}},
    "examples": {"examples": ["another text"]},
    "description": {"description": "another"},
    "engine": {"engine": {"maxBatchSize": 8, "maxTokens": 64}},
    "Custom": {"engine": {"type": "Custom", "labels": ["a"]}},
    "replicas": {"replicas": 5},
    "suspend": {"suspend": True},
    "defaults that are written": {"podTemplate": {"labels": {}, "tolerations": [], "resources": {}}},
}
CHANGED: dict[str, dict[str, Any]] = {
    "gpu": {"gpu": {}},
    "gpu.resourceName": {"gpu": {"resourceName": "amd.com/gpu"}},
    "gpu.product": {"gpu": {"product": "H100"}},
    "gpu.memory": {"gpu": {"memory": "80G"}},
    "parallelism.tensor": {"parallelism": {"tensor": 2}},
    "credentials": {"model": {"storageUri": "hf://owner/model", "credentials": {"secretName": "s"}}},
    "sizeLimit": {"model": {"storageUri": "hf://owner/model", "sizeLimit": "1Gi"}},
    "claim": {"model": {"storageUri": "pvc://claim/path"}},
    "another path on the claim": {"model": {"storageUri": "pvc://claim/other"}},
    "another claim": {"model": {"storageUri": "pvc://other/path"}},
    "image": {"model": {"storageUri": "oci://r.example/a:1", "delivery": "ImageVolume"}},
    "another tag of the image": {"model": {"storageUri": "oci://r.example/a:2", "delivery": "ImageVolume"}},
    "labels": {"podTemplate": {"labels": {"a": "b"}}},
    "annotations": {"podTemplate": {"annotations": {"a": "b"}}},
    "nodeSelector": {"podTemplate": {"nodeSelector": {"a": "b"}}},
    "tolerations": {"podTemplate": {"tolerations": [{"operator": "Exists"}]}},
    "affinity": {"podTemplate": {"affinity": {"podAffinity": {}}}},
    "topologySpreadConstraints": {"podTemplate": {"topologySpreadConstraints": [{"maxSkew": 1}]}},
    "priorityClassName": {"podTemplate": {"priorityClassName": "x"}},
    "runtimeClassName": {"podTemplate": {"runtimeClassName": "x"}},
    "schedulerName": {"podTemplate": {"schedulerName": "x"}},
    "serviceAccountName": {"podTemplate": {"serviceAccountName": "x"}},
    "imagePullSecrets": {"podTemplate": {"imagePullSecrets": [{"name": "x"}]}},
    "resources": {"podTemplate": {"resources": {"limits": {"cpu": "1"}}}},
    "env": {"podTemplate": {"env": [{"name": "A", "value": "b"}]}},
}


def member(**spec: Any) -> SubModel:
    return sub_model("sport", **{"model": {"storageUri": "hf://owner/model"}, **spec})


@pytest.mark.parametrize("field", UNCHANGED)
def test_the_revision_stays_when_pods_stay_as_they_are(field: str) -> None:
    assert member_revision(pool(), member(**UNCHANGED[field])) == member_revision(pool(), member())
    template = member_template(pool(), member(**UNCHANGED[field]), SETTINGS)
    assert template == member_template(pool(), member(), SETTINGS)


def test_every_field_that_shapes_pods_makes_a_revision_of_its_own() -> None:
    revisions = {field: member_revision(pool(), member(**spec)) for field, spec in CHANGED.items()}
    assert len({*revisions.values(), member_revision(pool(), member())}) == len(CHANGED) + 1


def test_every_revision_field_of_a_pod_template_is_in_the_table() -> None:
    written = {spec_field for spec in CHANGED.values() for spec_field in spec.get("podTemplate", {})}
    assert written == {field.alias for field in type(member().spec.pod_template).model_fields.values()}


def test_other_images_make_other_templates_and_the_same_revision() -> None:
    newer = replace(SETTINGS, images=ImageSet("router:2", "triton:2"))
    before, after = (member_template(pool(), member(), settings) for settings in (SETTINGS, newer))
    assert before["metadata"] == after["metadata"]
    assert [one["image"] for one in after["spec"]["containers"]] == ["triton:2"]


@pytest.mark.parametrize(
    ("field", "members_too"),
    [({"resources": {"limits": {"cpu": "1"}}}, True), ({"podTemplate": {"nodeSelector": {"a": "b"}}}, False)],
)
def test_what_the_pool_says_of_routers_reaches_the_pods_it_is_about(
    field: dict[str, Any], members_too: bool
) -> None:
    before, after = pool(), pool(router=field)
    assert standby_revision(before) != standby_revision(after)
    changed = member_revision(before, member()) != member_revision(after, member())
    assert changed is members_too


def test_members_and_limits_of_a_pool_leave_its_standby_pods_alone() -> None:
    other = pool(
        selection={"topK": 4}, suspend=True, router={"standbyReplicas": 3, "limits": {"maxQueue": 1}}
    )
    assert standby_template(pool(), SETTINGS) == standby_template(other, SETTINGS)


def test_gpus_are_not_asked_for_twice_while_a_pod_takes_anothers_place() -> None:
    def strategy(**spec: Any) -> Iterator[str]:
        one = sub_model(**spec)
        made = deployment(member_workload(pool(), one, member_template(pool(), one, SETTINGS), 1))
        yield made["spec"]["strategy"]["type"]

    assert [*strategy(gpu={}), *strategy()] == ["Recreate", "RollingUpdate"]


def test_a_controller_revision_keeps_the_template_under_its_deployments_name() -> None:
    template = member_template(pool(), sub_model(), SETTINGS)
    workload = member_workload(pool(), sub_model(), template, 1)
    kept = controller_revision(workload, 3)
    assert kept["metadata"] == deployment(workload)["metadata"]
    assert kept["revision"] == 3
    assert kept_template(json.loads(json.dumps(kept))) == template


def test_asking_for_a_restart_replaces_the_pods_of_the_object_that_asks_and_of_no_other() -> None:
    asked = {"annotations": {"fastserve.io/restarted-at": "2026-01-01T00:00:00Z"}}
    one_pool = pool()
    restarted_pool = one_pool.model_copy(update={"metadata": one_pool.metadata.model_copy(update=asked)})
    restarted = member().model_copy(update={"metadata": member().metadata.model_copy(update=asked)})
    assert member_revision(one_pool, restarted) != member_revision(one_pool, member())
    assert standby_revision(restarted_pool) != standby_revision(one_pool)
    assert member_revision(restarted_pool, member()) == member_revision(one_pool, member())
