import copy
import json
from typing import Any

import pytest

from fastserve.api.objects import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    NETWORK_POLICY,
    ROLE,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from fastserve.planning.objects.member_objects import prototypes_object
from fastserve.planning.objects.ownership import owned
from fastserve.planning.objects.settings import NetworkSetting, ObjectSettings
from pretend_cluster import (
    LATER,
    NEWER_SETTINGS,
    NOW,
    SETTINGS,
    PretendCluster,
    pool_manifest,
    sub_model_manifest,
)


def news(*sub_models: str, **specs: Any) -> PretendCluster:
    """A pool whose sub-models run: those named, and those with a spec of their own."""
    made = [sub_model_manifest(name) for name in sub_models]
    cluster = PretendCluster().add(*made, *(sub_model_manifest(name, **spec) for name, spec in specs.items()))
    cluster.settle()
    return cluster


def change(cluster: PretendCluster, name: str, **spec: Any) -> None:
    manifest = cluster.sub_models[name]
    manifest["spec"].update(spec)
    manifest["metadata"]["generation"] += 1


def test_a_pool_and_its_sub_models_become_their_objects_and_nothing_more() -> None:
    cluster = news("sport", world={"gpu": {}, "replicas": 2})
    kinds = sorted((kind.name, name.rpartition("-")[0] or name) for kind, name in cluster.children)
    assert kinds == [
        ("ConfigMap", "news-p"),
        ("ControllerRevision", "news-p-standby"),
        ("ControllerRevision", "sport-m"),
        ("ControllerRevision", "world-m"),
        ("Deployment", "news-p-standby"),
        ("Deployment", "sport-m"),
        ("Deployment", "world-m"),
        ("NetworkPolicy", "news-p"),
        ("PodDisruptionBudget", "world"),
        ("Role", "news-p"),
        ("RoleBinding", "news-p"),
        ("Service", "news"),
        ("Service", "sport"),
        ("Service", "world"),
        ("ServiceAccount", "news-p"),
    ]


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"model": {"storageUri": "file:///models/x"}},
            "InvalidSpec",
            "spec.model.storageUri: file:// is for local mode (allowed: https, s3, gs, hf, oci, pvc)",
        ),
        (
            {"examplesFrom": {"storageUri": "file:///texts"}},
            "InvalidSpec",
            "spec.examplesFrom.storageUri: file:// is for local mode (allowed: configMap)",
        ),
        (
            {"examplesFrom": {"configMap": {"name": "texts"}}},
            "ExamplesMissing",
            "spec.examplesFrom.configMap: there is no ConfigMap texts with a key examples in this namespace",
        ),
        (
            {"examplesFrom": {"configMap": {"name": "broken"}}},
            "InvalidSpec",
            'spec.examplesFrom.configMap: broken/examples, line 2: the field "text" is missing',
        ),
        (
            {"examplesFrom": {"configMap": {"name": "empty"}}},
            "InvalidSpec",
            "spec.examplesFrom.configMap: empty/examples holds no text",
        ),
        ({"examples": []}, "InvalidSpec", "spec: examples or examplesFrom is required"),
        ({"replicas": "many"}, "InvalidSpec", 'spec.replicas: found "many" (text); allowed: a whole number'),
        (
            {"gpu": {"resourceName": "nvidia.com/gpu.shared"}, "parallelism": {"tensor": 2}},
            "InvalidSpec",
            "spec: parallelism.tensor 2 needs whole GPUs",
        ),
    ],
)
def test_a_bad_sub_model_is_rejected_by_field_and_leaves_its_neighbour_as_it_is(
    spec: dict[str, Any], reason: str, message: str
) -> None:
    alone, beside = news("sport"), news("sport")
    beside.config_maps = {
        "broken": {"data": {"examples": 'a text\n{"txt": 1}\n'}},
        "empty": {"data": {"examples": "\n \n"}},
    }
    beside.add(sub_model_manifest("bad", **spec))
    beside.settle()
    why = beside.plan().rejected["bad"]
    assert (why.reason, why.message[: len(message)]) == (reason, message)
    assert beside.statuses()["bad"]["Accepted"] == f"False {reason}"
    assert beside.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    assert beside.statuses()["news"]["Ready"] == "True InferenceAnswered"
    assert beside.children == alone.children


def test_routers_are_told_which_image_lies_in_their_pod_and_that_it_is_another_version() -> None:
    fetched = {"storageUri": "oci://r.example/sport:1"}
    targets = [
        PretendCluster().add(sub_model_manifest("sport", model=model)).plan().targets["sport"]
        for model in (fetched, {**fetched, "delivery": "Fetch"}, {**fetched, "delivery": "ImageVolume"})
    ]
    assert [target.image for target in targets] == ["", "", "r.example/sport:1"]
    before, written, mounted = (target.digest for target in targets)
    assert before == written != mounted


def test_texts_of_a_config_map_are_examples_and_their_change_is_another_meaning() -> None:
    cluster = PretendCluster().add(
        sub_model_manifest("sport", examples=[], examplesFrom={"configMap": {"name": "texts"}})
    )
    cluster.config_maps = {"texts": {"data": {"examples": 'a goal\n{"text": "a match"}\n'}}}
    first = cluster.plan().table
    cluster.config_maps = {"texts": {"data": {"examples": "a goal\n"}}}
    second = cluster.plan().table
    assert first is not None
    assert second is not None
    assert first.members[0].meaning.examples == ("a goal", "a match")
    assert first.members[0].meaning.digest != second.members[0].meaning.digest
    assert first.members[0].target == second.members[0].target


def test_the_target_tells_what_must_come_and_how_much_may() -> None:
    digest = "sha256:" + "0" * 64
    model = {"storageUri": "s3://models/x", "digest": digest, "sizeLimit": "1Gi"}
    resources = {"limits": {"cpu": "8"}}
    cluster = PretendCluster().add(
        sub_model_manifest(
            "sport", model=model, parallelism={"tensor": 2}, podTemplate={"resources": resources}
        ),
        sub_model_manifest("own", engine={"type": "Custom", "labels": ["a", "b"]}),
    )
    own, sport = (cluster.plan().targets[name] for name in ("own", "sport"))
    assert (sport.expected_digest, sport.max_bytes, sport.custom) == (digest, 1 << 30, False)
    assert sport.engine.threads_per_rank == 4
    assert (own.custom, own.labels, own.files) == (True, ("a", "b"), {})


def test_a_fallback_that_is_no_sub_model_is_the_pools_own_fault_and_changes_nothing_that_runs() -> None:
    cluster = news("sport")
    before = copy.deepcopy(cluster.children)
    assert cluster.pool is not None
    cluster.pool["spec"] = {"selection": {"fallback": {"type": "SubModel", "subModel": "gone"}}}
    cluster.pool["metadata"]["generation"] = 2
    change(cluster, "sport", replicas=3)
    cluster.settle()
    assert cluster.children == before
    assert cluster.statuses()["news"]["Accepted"] == "False InvalidSpec"
    assert cluster.statuses()["news"]["Stalled"] == "True InvalidSpec"
    assert cluster.statuses()["sport"]["Ready"] == "False PoolRejected"
    assert cluster.statuses()["sport"]["Available"] == "True Answering"
    rejection = cluster.plan().pool_rejection
    assert rejection is not None
    assert rejection.message == (
        "spec.selection.fallback.subModel: gone is no sub-model of this pool (allowed: sport)"
    )


def test_a_pool_that_cannot_be_read_is_at_fault_and_what_runs_goes_on() -> None:
    cluster = news("sport")
    before = copy.deepcopy(cluster.children)
    assert cluster.pool is not None
    cluster.pool["spec"] = {"selection": {"topK": "two"}}
    cluster.settle()
    assert cluster.children == before
    assert cluster.statuses()["news"]["Accepted"] == "False InvalidSpec"
    assert cluster.statuses()["sport"]["Available"] == "True Answering"


def test_a_table_that_no_config_map_can_hold_is_the_pools_fault() -> None:
    big = {"data": {"examples": "\n".join(f"{number} " + "x" * 500 for number in range(2000))}}
    cluster = PretendCluster(config_maps={"big": big})
    cluster.add(sub_model_manifest("sport", examplesFrom={"configMap": {"name": "big"}}))
    plan = cluster.plan()
    assert plan.pool_rejection is not None
    assert "the route table of pool news takes" in plan.pool_rejection.message
    assert not plan.apply


def test_a_running_sub_model_that_becomes_invalid_keeps_its_pods_and_its_place_in_the_table() -> None:
    cluster = news("sport", "world")
    before = copy.deepcopy(cluster.children)
    change(cluster, "sport", model={"storageUri": "file:///elsewhere"})
    cluster.settle()
    assert cluster.children == before
    assert cluster.statuses()["sport"]["Ready"] == "False InvalidSpec"
    assert cluster.statuses()["sport"]["Available"] == "True Answering"
    change(cluster, "sport", model={"storageUri": "s3://models/sport", "version": "v2"})
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    assert cluster.status("sport")["activeVersion"] == "v2"


def test_a_sub_model_that_becomes_invalid_keeps_its_pods_also_when_somebody_spoils_the_table() -> None:
    cluster = news("sport", "world")
    change(cluster, "sport", model={"storageUri": "file:///elsewhere"})
    cluster.settle()
    cluster.edit(CONFIG_MAP, "news-p-routes", "data", "routes.json")
    cluster.settle()
    assert len(cluster.pods_of("sport")) == 1


def test_sub_models_without_their_pool_lose_their_objects_and_say_so_and_come_back_with_it() -> None:
    cluster = news("sport")
    pool, cluster.pool = cluster.pool, None
    for key in [key for key in cluster.children if not key[1].startswith("sport")]:
        del cluster.children[key]  # as Kubernetes' garbage collector does
    cluster.settle()
    assert cluster.children == {}
    assert cluster.statuses()["sport"]["Accepted"] == "False PoolNotFound"
    assert cluster.statuses()["sport"]["Reconciling"] == "True PoolNotFound"
    assert "Stalled" not in cluster.statuses()["sport"]
    cluster.pool = pool
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_pool_that_is_being_deleted_is_gone_with_all_that_it_owned() -> None:
    cluster = news("sport")
    assert cluster.pool is not None
    cluster.pool["metadata"]["deletionTimestamp"] = NOW
    cluster.settle()
    assert cluster.children == {}
    assert cluster.statuses()["sport"]["Accepted"] == "False PoolNotFound"


def test_a_sub_model_that_is_being_deleted_loses_its_objects_and_no_one_elses() -> None:
    cluster, alone = news("sport", "world"), news("world")
    cluster.sub_models["sport"]["metadata"]["deletionTimestamp"] = NOW
    cluster.settle()
    assert set(cluster.children) == set(alone.children)


def test_a_sub_model_that_is_deleted_as_its_user_asks_with_cascade_orphan_keeps_its_objects() -> None:
    cluster = news("sport", "world")
    before = set(cluster.children)
    cluster.sub_models["sport"]["metadata"] |= {"deletionTimestamp": NOW, "finalizers": ["orphan"]}
    cluster.settle()
    assert set(cluster.children) == before


FAULTY = [{"model": {"storageUri": "file:///elsewhere"}}, {"replicas": "many"}]


@pytest.mark.parametrize("fault", FAULTY)
def test_suspend_takes_the_pods_of_a_sub_model_that_is_rejected_too(fault: dict[str, Any]) -> None:
    cluster = news("sport", "world")
    before = copy.deepcopy(cluster.children)
    change(cluster, "sport", suspend=True, **fault)
    cluster.settle()
    gone = {key for key in before if key not in cluster.children}
    assert [(kind, name[:7]) for kind, name in gone] == [(DEPLOYMENT, "sport-m")]
    assert {key: cluster.children[key] for key in cluster.children} == {
        key: one for key, one in before.items() if key not in gone
    }
    statuses = cluster.statuses()
    assert (statuses["sport"]["Accepted"], statuses["sport"]["Suspended"]) == (
        "False InvalidSpec",
        "True Suspended",
    )
    assert statuses["sport"]["Available"] == "False NoReplicaAnswers"
    assert statuses["world"]["Ready"] == "True InferenceAnswered"
    change(cluster, "sport", suspend=False, replicas=1, model={"storageUri": "s3://models/sport"})
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


@pytest.mark.parametrize("fault", [{"topK": "two"}, {"fallback": {"type": "SubModel", "subModel": "gone"}}])
def test_suspend_takes_the_pods_though_the_pool_is_rejected(fault: dict[str, Any]) -> None:
    cluster = news("sport", "world")
    assert cluster.pool is not None
    cluster.pool["spec"] = {"selection": fault}
    change(cluster, "sport", suspend=True)
    cluster.settle()
    assert {name[:5] for name in cluster.names(DEPLOYMENT)} == {"news-", "world"}
    assert cluster.statuses()["sport"]["Suspended"] == "True Suspended"
    cluster.pool["spec"]["suspend"] = True
    cluster.settle()
    assert cluster.names(DEPLOYMENT) == []
    cluster.pool["spec"] = {}
    change(cluster, "sport", suspend=False)
    cluster.settle()
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"


def test_suspend_takes_the_pods_and_leaves_everything_else() -> None:
    cluster = news("sport", "world")
    names = set(cluster.children)
    change(cluster, "sport", suspend=True)
    cluster.settle()
    assert set(cluster.children) == names
    assert (len(cluster.pods_of("sport")), len(cluster.pods_of("world"))) == (0, 1)
    assert cluster.statuses()["sport"]["Suspended"] == "True Suspended"
    assert cluster.pool is not None
    cluster.pool["spec"] = {"suspend": True}
    cluster.settle()
    assert (set(cluster.children), cluster.pods) == (names, {})
    assert cluster.statuses()["news"]["Suspended"] == "True Suspended"


@pytest.mark.parametrize(
    ("kind", "name", "because"),
    [
        (SERVICE, "news", "controlled by nobody"),
        (SERVICE, "sport-m", "controlled by nobody"),
        (SERVICE_ACCOUNT, "news-p-router", "controlled by ReplicaSet other"),
    ],
)
def test_a_foreign_object_is_never_touched_and_named_in_the_status(
    kind: Kind, name: str, because: str
) -> None:
    cluster = news("sport")
    foreign = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "other", "uid": "o", "controller": True}
    metadata = cluster.children[(kind, name)]["metadata"]
    metadata["ownerReferences"] = [foreign] if "ReplicaSet" in because else []
    before = copy.deepcopy(cluster.children)
    cluster.settle()
    assert cluster.children == before
    whose = "sport" if name.startswith("sport") else "news"
    assert cluster.statuses()[whose]["Ready"] == "False ForeignObject"
    assert cluster.statuses()[whose]["Stalled"] == "True ForeignObject"
    said = cluster.status(whose)["conditions"][0]["message"]
    assert f"{kind.name} {name} is there and is {because}; it is left as it is" in said
    assert cluster.plan().recheck_after is not None


def test_what_an_older_object_of_the_same_name_owned_goes_and_is_made_anew() -> None:
    cluster = news("sport")
    cluster.sub_models["sport"] = sub_model_manifest("sport", uid="uid-reborn")
    first = cluster.plan()
    gone = {(one.kind.name, one.because) for one in first.delete}
    assert gone == {
        (kind, "it belonged to an older SubModel sport")
        for kind in ("Deployment", "ControllerRevision", "Service")
    }
    cluster.settle()
    owners = [
        reference["uid"]
        for (kind, name), one in cluster.children.items()
        if name.startswith("sport")
        for reference in one["metadata"]["ownerReferences"]
    ]
    assert set(owners) == {"uid-reborn"}


def test_a_child_of_another_pools_sub_model_that_bears_our_label_is_left_alone() -> None:
    cluster = news("sport")
    stray = copy.deepcopy(cluster.children[(SERVICE, "sport-m")])
    stray["metadata"].update(name="else-m", uid="stray")
    stray["metadata"]["ownerReferences"][0].update(name="else", uid="uid-else")
    cluster.children[(SERVICE, "else-m")] = stray
    cluster.settle()
    assert (SERVICE, "else-m") in cluster.children


def test_an_object_of_ours_that_is_not_wanted_any_more_goes() -> None:
    cluster = news(sport={"replicas": 2})
    change(cluster, "sport", replicas=1)
    settings = ObjectSettings(SETTINGS.images, NetworkSetting(policies=False))
    plan = cluster.plan(settings)
    assert [(one.kind.name, one.name) for one in plan.delete] == [
        ("PodDisruptionBudget", "sport-m"),
        ("NetworkPolicy", "news-p-router"),
    ]


def test_what_is_being_deleted_is_neither_applied_nor_deleted_again() -> None:
    cluster = news("sport")
    cluster.children[(SERVICE, "sport-m")]["metadata"]["deletionTimestamp"] = NOW
    cluster.children[(NETWORK_POLICY, "news-p-router")]["metadata"]["deletionTimestamp"] = NOW
    plan = cluster.plan(ObjectSettings(SETTINGS.images, NetworkSetting(policies=False)))
    assert (plan.apply, plan.delete) == ((), ())


def test_stored_prototypes_stay() -> None:
    cluster = news("sport")
    observed = cluster.observed()
    assert observed.pool is not None
    made = prototypes_object(observed.pool, observed.sub_models["sport"], "key", b"rows")
    cluster.apply(CONFIG_MAP, owned(made, cluster.sub_models["sport"]))
    assert cluster.plan().delete == ()


def test_a_newer_operator_changes_no_pod_and_repairs_drift_with_the_template_that_was() -> None:
    cluster = news("sport")
    assert cluster.look(NEWER_SETTINGS, LATER) == 0
    (name,) = [name for name in cluster.names(DEPLOYMENT) if name.startswith("sport")]
    cluster.edit(DEPLOYMENT, name, "spec", "replicas")
    (repair,) = cluster.plan(NEWER_SETTINGS).apply
    assert repair.because == "spec.replicas was changed by somebody else"
    assert "router:1" in json.dumps(repair.manifest)
    assert "router:2" not in json.dumps(repair.manifest)


def test_a_restart_that_its_user_asks_for_adopts_the_newer_operators_template() -> None:
    cluster = news("sport")
    cluster.sub_models["sport"]["metadata"]["annotations"] = {"fastserve.io/restarted-at": LATER}
    cluster.settle(NEWER_SETTINGS)
    (name,) = [name for name in cluster.names(DEPLOYMENT) if name.startswith("sport")]
    assert "triton:2" in json.dumps(cluster.children[(DEPLOYMENT, name)])


def test_the_current_and_one_older_template_are_kept() -> None:
    cluster = news("sport")
    for number in range(4):
        change(cluster, "sport", podTemplate={"labels": {"number": str(number)}})
        cluster.settle()
    kept = [name for name in cluster.names(CONTROLLER_REVISION) if name.startswith("sport")]
    numbers = sorted(cluster.children[(CONTROLLER_REVISION, name)]["revision"] for name in kept)
    assert numbers == [4, 5]
    assert len([name for name in cluster.names(DEPLOYMENT) if name.startswith("sport")]) == 1


def test_after_going_back_the_template_that_was_gone_back_to_is_the_older_one() -> None:
    cluster = news("sport")
    templates: list[dict[str, Any]] = [{}, {"labels": {"a": "b"}}, {}, {"labels": {"c": "d"}}]
    revisions = []
    for template in templates:
        change(cluster, "sport", podTemplate=template)
        cluster.settle()
        revisions.append(cluster.status("sport")["revision"])
    kept = {name[-8:] for name in cluster.names(CONTROLLER_REVISION) if name.startswith("sport")}
    assert kept == {revisions[2], revisions[3]}


def test_going_back_to_the_older_revision_takes_its_kept_template() -> None:
    cluster = news("sport")
    first = set(cluster.children)
    change(cluster, "sport", podTemplate={"labels": {"a": "b"}})
    cluster.settle(NEWER_SETTINGS)
    change(cluster, "sport", podTemplate={})
    cluster.settle(NEWER_SETTINGS)
    assert first <= set(cluster.children)
    (name,) = [name for name in cluster.names(DEPLOYMENT) if name.startswith("sport")]
    assert "triton:1" in json.dumps(cluster.children[(DEPLOYMENT, name)])


def test_gpu_pods_go_before_their_successors_come_and_cpu_pods_after() -> None:
    cluster = news(big={"gpu": {}}, small={})
    for name in ("big", "small"):
        change(cluster, name, podTemplate={"labels": {"a": "b"}})
    cluster.look()
    first = [(verb, name[:5]) for verb, kind, name in cluster.writes if kind == "Deployment"][-2:]
    assert first == [("apply", "small"), ("delete", "big-m")]
    cluster.run()
    cluster.look()
    second = [(verb, name[:5]) for verb, kind, name in cluster.writes if kind == "Deployment"][-2:]
    assert second == [("apply", "big-m"), ("delete", "small")]


def test_a_gpu_revision_waits_for_pods_that_outlive_their_deployment() -> None:
    cluster = news(big={"gpu": {}})
    change(cluster, "big", podTemplate={"labels": {"a": "b"}})
    cluster.look()
    (ending,) = cluster.pods_of("big")
    ending["metadata"]["deletionTimestamp"] = LATER
    cluster.look()
    assert [name for name in cluster.names(DEPLOYMENT) if name.startswith("big")] == []
    told = next(one for one in cluster.status("big")["conditions"] if one["type"] == "Ready")
    assert (told["status"], told["reason"]) == ("False", "RolloutInProgress")
    assert told["message"].endswith("have ended; 0 of 1 replicas answered an inference")
    cluster.settle()
    assert cluster.statuses()["big"]["Ready"] == "True InferenceAnswered"


def test_a_gpu_revision_does_not_wait_for_ever_for_a_pod_on_a_lost_node() -> None:
    cluster = news(big={"gpu": {}})
    change(cluster, "big", podTemplate={"labels": {"a": "b"}})
    cluster.look()
    (stuck,) = cluster.pods_of("big")
    stuck["metadata"]["deletionTimestamp"] = NOW
    cluster.look(now="2026-01-01T00:00:59Z")
    assert [name for name in cluster.names(DEPLOYMENT) if name.startswith("big")] == []
    cluster.look(now="2026-01-01T00:01:00Z")
    assert len([name for name in cluster.names(DEPLOYMENT) if name.startswith("big")]) == 1


def test_a_router_may_read_the_prototypes_of_members_and_of_nobody_else() -> None:
    cluster = news("sport", bad={"model": {"storageUri": "file:///x"}})
    rules = cluster.children[(ROLE, "news-p-router")]["rules"]
    named = {name for rule in rules for name in rule.get("resourceNames", ())}
    assert named == {"news-p-routes", "sport-m-prototypes"}


def test_at_rest_nobody_looks_again() -> None:
    assert news("sport", bad={"model": {"storageUri": "file:///x"}}).plan(now=LATER).recheck_after is None


def test_the_pool_may_come_after_its_sub_models() -> None:
    cluster = PretendCluster(pool=None).add(sub_model_manifest("sport"))
    cluster.settle()
    cluster.pool = pool_manifest()
    cluster.settle()
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"
