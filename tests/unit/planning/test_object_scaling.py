"""Sub-models that are scaled: what is wanted of them, and what is said while replicas come and go."""

import copy
from typing import Any

import pytest

from fastserve.api.identity import ROLE_LABEL, scaling_lease_name
from fastserve.api.meta import LoadProgress
from fastserve.api.objects import CONFIG_MAP, DEPLOYMENT, DISRUPTION_BUDGET, LEASE, ROLE
from fastserve.api.routes import RouteTable
from fastserve.api.scaling import ScalingDecision, ScalingState
from fastserve.api.submodel import SubModelStatus
from fastserve.planning.objects.children import table_of
from fastserve.planning.objects.happenings import events
from fastserve.planning.objects.reading import read_status
from pretend_cluster import LATER, NOW, PretendCluster, pool_manifest, sub_model_manifest, versions_of

SLEEPY = {"minReplicas": 0, "maxReplicas": 4}
LEASE_NAME = scaling_lease_name("news")


def news(replicas: int = 1, *neighbours: str, **scaling: Any) -> PretendCluster:
    """The pool news runs; sport is scaled, and asked to have so many replicas now."""
    spec = {"autoscaling": {**SLEEPY, **scaling}, "replicas": replicas}
    cluster = PretendCluster().add(sub_model_manifest("sport", **spec))
    cluster.add(*(sub_model_manifest(name) for name in neighbours))
    cluster.settle()
    return cluster


def answering(cluster: PretendCluster) -> PretendCluster:
    """All pods of sport come up, and all is done that is to be done."""
    for pod in cluster.pods_of("sport"):
        pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    cluster.settle()
    return cluster


def scale(cluster: PretendCluster, replicas: int) -> PretendCluster:
    """Somebody writes ``/scale``."""
    sport = cluster.sub_models["sport"]
    sport["spec"]["replicas"] = replicas
    sport["metadata"]["generation"] += 1
    return cluster


def starting(cluster: PretendCluster, number: int, **changes: Any) -> PretendCluster:
    """The controllers do their work, and of sport's pods this one, counted from 0, still starts."""
    cluster.run()
    pod = cluster.pods_of("sport")[number]
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    heard = cluster.states[pod["metadata"]["uid"]]
    assert heard.model is not None
    model = heard.model.model_copy(update={"load": LoadProgress(phase="Loading"), **changes})
    told = heard.model_copy(update={"ready": False, "because": "it loads", "model": model})
    cluster.states[pod["metadata"]["uid"]] = told.model_copy(update={"versions": versions_of(told)})
    return cluster


def says(cluster: PretendCluster, state: ScalingState | None, role: str = "standby") -> PretendCluster:
    """The first router of that role says this of scaling."""
    pods = [one for _, one in sorted(cluster.pods.items()) if one["metadata"]["labels"][ROLE_LABEL] == role]
    uid = pods[0]["metadata"]["uid"]
    cluster.states[uid] = cluster.states[uid].model_copy(update={"scaling": state})
    return cluster


def holder(replicas: int = 1, time: str = NOW, problem: str = "", message: str = "4 wait") -> ScalingState:
    made = ScalingDecision(
        member="sport", replicas=replicas, wanted=9, reason="QueueWait", message=message, time=time
    )
    return ScalingState(holder=True, problem=problem, decisions=(made,))


def member_table(cluster: PretendCluster) -> RouteTable:
    table = table_of(cluster.observed())
    assert table is not None
    return table


def replicas_wanted(cluster: PretendCluster) -> list[int]:
    return [
        cluster.children[(DEPLOYMENT, name)]["spec"]["replicas"]
        for name in cluster.names(DEPLOYMENT)
        if name.startswith("sport")
    ]


def message_of(cluster: PretendCluster, kind: str, name: str = "sport") -> str:
    found = next(one for one in cluster.status(name)["conditions"] if one["type"] == kind)
    return str(found["message"])


@pytest.mark.parametrize(("asked", "runs"), [(0, 2), (2, 2), (3, 3), (9, 4)])
def test_as_many_replicas_run_as_were_written_within_the_bounds(asked: int, runs: int) -> None:
    cluster = news(asked, minReplicas=2)
    assert replicas_wanted(cluster) == [runs]
    staff = member_table(cluster).members[0].staff
    assert staff is not None
    assert (staff.replicas, staff.least, staff.most) == (runs, 2, 4)
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_window_is_the_routers_matter_and_changes_no_replicas() -> None:
    cluster = news(1, warmWindows=[{"start": "00:00", "end": "00:00", "replicas": 3}])
    assert replicas_wanted(cluster) == [1]
    staff = member_table(cluster).members[0].staff
    assert staff is not None
    assert staff.warm_windows[0].replicas == 3


@pytest.mark.parametrize("whose", ["sport", "news"])
def test_what_is_suspended_runs_nothing_and_is_not_scaled(whose: str) -> None:
    cluster = news(3)
    document = cluster.pool if whose == "news" else cluster.sub_models["sport"]
    assert document is not None
    document["spec"]["suspend"] = True
    cluster.settle()
    assert replicas_wanted(cluster) == [0]
    assert member_table(cluster).members[0].staff is None
    assert cluster.names(LEASE) == []


def test_what_is_rejected_is_not_scaled_for_nobody_would_carry_it_out() -> None:
    cluster = news(1)
    assert member_table(cluster).members[0].staff is not None
    cluster.sub_models["sport"]["spec"] |= {"model": {"storageUri": "file:///x"}}
    cluster.settle()
    assert member_table(cluster).members[0].staff is None
    cluster.sub_models["sport"]["spec"]["suspend"] = True
    cluster.settle()
    assert member_table(cluster).members[0].staff is None


def test_the_table_carries_what_the_pool_says_of_scaling() -> None:
    prometheus = {"prometheus": {"url": "http://prometheus.monitoring:9090"}}
    cluster = PretendCluster(pool_manifest(scaling={"maxGpus": 3}, monitoring=prometheus))
    cluster.add(sub_model_manifest("sport"))
    cluster.settle()
    table = member_table(cluster)
    assert table.scaling.max_gpus == 3
    assert table.monitoring.prometheus is not None
    assert table.monitoring.prometheus.url == "http://prometheus.monitoring:9090"
    assert table.members[0].staff is None


def test_pods_that_the_scheduler_finds_no_node_for_are_counted() -> None:
    cluster = news(3)
    first, second, third = cluster.pods_of("sport")
    words = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    for pod, reason in ((first, "Unschedulable"), (second, "SchedulingGated"), (third, "Unschedulable")):
        pod["spec"] = {}
        pod["status"] = {"phase": "Pending", "conditions": [{**words, "reason": reason}]}
    third["metadata"]["deletionTimestamp"] = NOW
    cluster.look()
    staff = member_table(cluster).members[0].staff
    assert staff is not None
    assert staff.unplaced == 1


def test_the_budget_of_evictions_does_not_come_and_go_with_replicas() -> None:
    cluster = news(1)
    assert "sport-m" in cluster.names(DISRUPTION_BUDGET)
    scale(cluster, 3).settle()
    assert not [one for one in cluster.writes if one[1] == "PodDisruptionBudget"][1:]


def test_another_number_is_no_reason_to_try_a_refused_version_again_and_nor_are_other_bounds() -> None:
    cluster = news(1)
    asked = {
        cluster.plan().exchanges["sport"].member.asked,
        scale(cluster, 3).plan().exchanges["sport"].member.asked,
    }
    assert asked == {""}
    wanted = [copy.deepcopy(cluster), copy.deepcopy(cluster)]
    wanted[1].sub_models["sport"]["spec"]["autoscaling"]["maxReplicas"] = 9
    for one in wanted:
        one.sub_models["sport"]["spec"]["model"]["version"] = "v2"
    first, other = (one.plan().exchanges["sport"].member for one in wanted)
    assert first.rollout is not None
    assert first.asked == other.asked != ""


def test_doors_that_have_not_read_how_many_there_are_to_be_are_informed_all_the_same() -> None:
    cluster = news(1)
    before = cluster.statuses()["news"]
    heard = dict(cluster.states)
    scale(cluster, 3).look()
    cluster.make_pods()
    cluster.states = heard
    assert cluster.statuses()["news"] == before
    cluster.settle()
    assert cluster.statuses()["news"] == before


def test_doors_may_be_some_tables_behind_for_a_moment_and_no_longer() -> None:
    cluster = news(1)
    cluster.clock, heard = NOW, dict(cluster.states)
    for replicas in (2, 3, 4, 3):
        scale(cluster, replicas).look()
        cluster.states = heard
        cluster.look()
        assert cluster.statuses()["news"]["RouterReady"] == "True TableRead"
    cluster.look(now="2026-01-01T00:00:09Z")
    assert cluster.statuses()["news"]["RouterReady"] == "True TableRead"
    cluster.look(now="2026-01-01T00:00:10Z")
    assert cluster.statuses()["news"]["RouterReady"] == "False TableNotRead"


def test_a_table_that_says_another_thing_to_doors_makes_those_before_it_worthless() -> None:
    cluster = news(1)
    cluster.clock, heard = NOW, dict(cluster.states)
    scale(cluster, 2).look()
    assert cluster.pool is not None
    cluster.pool["spec"]["selection"] = {"topK": 1}
    cluster.look()
    cluster.states = heard
    cluster.look()
    assert cluster.statuses()["news"]["RouterReady"] == "False TableNotRead"


def test_only_the_last_tables_are_remembered() -> None:
    cluster = news(1)
    for number in range(20):
        scale(cluster, number % 4 + 1).settle()
    annotations = cluster.children[(CONFIG_MAP, "news-p-routes")]["metadata"]["annotations"]
    assert len(annotations["fastserve.io/earlier-tables"].split(",")) == 8


@pytest.mark.parametrize("mode", ["Builtin", "External"])
def test_the_lease_is_there_as_long_as_anybody_is_scaled(mode: str) -> None:
    cluster = news(1, "world", mode=mode)
    assert cluster.names(LEASE) == [LEASE_NAME]
    (owner,) = cluster.children[(LEASE, LEASE_NAME)]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("ModelPool", "news", True)
    del cluster.sub_models["sport"]["spec"]["autoscaling"]
    cluster.settle()
    assert cluster.names(LEASE) == []
    assert "leases" not in str(cluster.children[(ROLE, "news-p-router")]["rules"])


def test_what_its_holder_writes_into_the_lease_is_no_drift() -> None:
    cluster = news(1)
    live = cluster.children[(LEASE, LEASE_NAME)]
    live["spec"] = {"holderIdentity": "uid-of-a-router", "leaseDurationSeconds": 15, "renewTime": LATER}
    live["metadata"]["managedFields"].append(
        {"manager": "router", "operation": "Update", "fieldsV1": {"f:spec": {"f:holderIdentity": {}}}}
    )
    assert cluster.look(now=LATER) == 0
    assert "spec" not in next(
        one.manifest
        for one in PretendCluster(sub_models=cluster.sub_models).plan().apply
        if one.kind == LEASE
    )


def test_only_members_that_routers_are_to_scale_may_be_written_by_them() -> None:
    cluster = news(1, mode="External")
    assert "submodels/scale" not in str(cluster.children[(ROLE, "news-p-router")]["rules"])
    cluster.sub_models["sport"]["spec"]["autoscaling"]["mode"] = "Builtin"
    cluster.settle()
    (rule,) = [
        one
        for one in cluster.children[(ROLE, "news-p-router")]["rules"]
        if one["resources"] == ["submodels/scale"]
    ]
    assert (rule["resourceNames"], rule["verbs"]) == (["sport"], ["get", "update"])


def test_it_stays_ready_while_more_replicas_come() -> None:
    cluster = scale(news(1), 3)
    cluster.look()
    starting(cluster, 2)
    cluster.look()
    said = cluster.statuses()["sport"]
    assert (said["Ready"], said["Progressing"]) == ("True InferenceAnswered", "True ScalingUp")
    assert "Reconciling" not in said
    assert message_of(cluster, "Ready") == "2 of 3 replicas answered an inference"
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"
    assert cluster.plan(now=LATER).recheck_after == 3.0
    answering(cluster)
    assert cluster.statuses()["sport"]["Progressing"] == "False UpToDate"
    assert message_of(cluster, "Ready") == "3 of 3 replicas answered an inference"


def test_one_without_autoscaling_is_not_ready_while_more_replicas_come() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport"))
    cluster.settle()
    scale(cluster, 3).look()
    starting(cluster, 2).look()
    assert cluster.statuses()["sport"]["Ready"] == "False Loading"


def test_it_is_not_ready_with_fewer_than_its_user_wants_at_the_least() -> None:
    cluster = scale(news(2, minReplicas=2), 3)
    cluster.look()
    starting(cluster, 1)
    starting_two = cluster.pods_of("sport")[2]["status"]
    starting_two["conditions"] = [{"type": "Ready", "status": "False"}]
    cluster.states.pop(cluster.pods_of("sport")[2]["metadata"]["uid"])
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False PodsStarting"
    assert message_of(cluster, "Ready") == "the pods start; 1 of 3 replicas answered an inference"


def test_something_that_is_wrong_is_told_although_enough_replicas_answer() -> None:
    cluster = scale(news(1), 2)
    cluster.look()
    starting(cluster, 1)
    waits = {"name": "triton", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    cluster.pods_of("sport")[1]["status"]["containerStatuses"] = [waits]
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False ImageUnpullable"


def test_replicas_that_go_make_nothing_unready() -> None:
    cluster = scale(news(3), 1)
    cluster.clock = NOW
    for pods_end in (False, True, True):
        cluster.look()
        said = cluster.statuses()
        assert (said["sport"]["Ready"], said["news"]["Ready"]) == ("True InferenceAnswered",) * 2
        if pods_end:
            for pod in cluster.pods_of("sport")[1:]:
                pod["metadata"]["deletionTimestamp"] = NOW
    assert message_of(cluster, "Ready") == "1 of 1 replicas answered an inference"


def test_it_falls_asleep_without_a_moment_of_not_ready() -> None:
    cluster = scale(news(1, "world"), 0)
    for _ in range(3):
        cluster.look()
        assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"
        assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"
        cluster.run()


def woken(cluster: PretendCluster) -> PretendCluster:
    """It slept, and is to have a replica that still starts."""
    scale(cluster, 0).settle()
    cluster.clock = NOW
    scale(cluster, 1).look()
    starting(cluster, 0).look()
    return cluster


def test_from_zero_it_is_waking_until_the_first_replica_answers() -> None:
    cluster = woken(news(1, "world"))
    for _ in range(2):
        said = cluster.statuses()["sport"]
        assert (said["Ready"], said["Available"]) == ("False Waking", "False NoReplicaAnswers")
        assert (said["Reconciling"], said["Progressing"]) == ("True Waking", "True Waking")
        assert cluster.look() == 0
    words = "it is being woken: the model is being loaded; 0 of 1 replicas answered an inference"
    assert message_of(cluster, "Ready") == words
    answering(cluster)
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_pool_stays_ready_while_a_sleeper_wakes() -> None:
    cluster = woken(news(1, "world"))
    said = cluster.statuses()["news"]
    assert (said["Ready"], said["Available"], said["MembersReady"]) == (
        "True InferenceAnswered",
        "True Answering",
        "True MembersReady",
    )
    assert cluster.status("news")["readyMembers"] == "1/2"


def test_a_sleeper_that_wakes_without_a_node_is_told_with_the_schedulers_words() -> None:
    cluster = woken(news(1))
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    (pod,) = cluster.pods_of("sport")
    pod["spec"] = {}
    unseen = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    pod["status"] = {"phase": "Pending", "conditions": [unseen]}
    cluster.states.pop(pod["metadata"]["uid"])
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False Waking"
    assert words in message_of(cluster, "Ready")
    assert cluster.statuses()["sport"]["PlacementReady"] == "False Unschedulable"
    cluster.run()
    cluster.look(now="2026-01-01T00:10:00Z")
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"
    for _ in range(2):
        cluster.look(now="2026-01-01T00:10:01Z")
        assert cluster.statuses()["sport"]["Ready"] == "False Unschedulable"
        assert cluster.statuses()["news"]["Ready"] == "False MembersNotReady"


def test_a_change_of_its_pool_leaves_a_sleeper_ready() -> None:
    """Its pods are made otherwise from now on; its version was proved, and nobody is woken for that."""
    cluster = news(1, "world")
    del cluster.sub_models["sport"]["spec"]["model"]["version"]  # then its name is what routers read
    cluster.settle()
    scale(cluster, 0).settle()
    before = cluster.sub_models["sport"]["status"]
    assert cluster.pool is not None
    cluster.pool["spec"]["router"] = {"resources": {"limits": {"memory": "2Gi"}}}
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"
    cluster.settle()
    after = cluster.sub_models["sport"]["status"]
    assert after["revision"] != before["revision"]
    assert after["targetVersion"] == before["targetVersion"] != ""
    assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"
    assert "with this spec, before its pool changed" in message_of(cluster, "Ready")
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"
    scale(cluster, 1).settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_change_of_what_it_says_itself_of_its_pods_is_to_be_proved() -> None:
    cluster = scale(news(1, "world"), 0)
    cluster.settle()
    cluster.sub_models["sport"]["spec"]["podTemplate"] = {"nodeSelector": {"disk": "none"}}
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "False NotProved"
    scale(cluster, 1).look()
    starting(cluster, 0)
    scale(cluster, 0).settle()
    assert cluster.statuses()["sport"]["Ready"] == "False NotProved"
    scale(cluster, 1).settle()
    scale(cluster, 0).settle()
    assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"


def test_a_version_that_was_asked_for_in_sleep_gives_none_its_name() -> None:
    cluster = news(1)
    model = cluster.sub_models["sport"]["spec"]["model"]
    del model["version"]
    cluster.settle()
    scale(cluster, 0).settle()
    model["version"] = "v9"
    cluster.settle()
    assert cluster.status("sport")["targetVersion"] == "v9"
    assert cluster.statuses()["sport"]["Ready"] == "False NotProved"
    del model["version"]
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"
    assert cluster.status("sport")["targetVersion"] != "v9"


def test_of_a_rejected_pool_no_sleeper_is_ready_with_pods_that_nobody_makes() -> None:
    cluster = scale(news(1, "world"), 0)
    cluster.settle()
    assert cluster.pool is not None
    cluster.pool["spec"]["router"] = {"resources": {"limits": {"memory": "2Gi"}}}
    cluster.pool["spec"]["selection"] = {"fallback": {"type": "SubModel", "subModel": "nobody"}}
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "False PoolRejected"


def test_a_version_that_was_never_ready_gives_no_other_its_name() -> None:
    """Suspended, it is not tried."""
    cluster = news(1)
    spec = cluster.sub_models["sport"]["spec"]
    del spec["model"]["version"]
    cluster.settle()
    scale(cluster, 0).settle()
    spec["model"]["version"], spec["suspend"] = "v9", True
    cluster.settle()
    assert cluster.status("sport")["targetVersion"] == "v9"
    del spec["model"]["version"], spec["suspend"]
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"
    assert cluster.status("sport")["targetVersion"] != "v9"


def test_a_sleeper_that_was_never_proved_keeps_its_pool_from_ready_while_it_wakes() -> None:
    cluster = news(0, "world")
    assert cluster.statuses()["sport"]["Ready"] == "False NotProved"
    cluster.clock = NOW
    scale(cluster, 1).look()
    starting(cluster, 0).look()
    assert cluster.statuses()["sport"]["Ready"] == "False Waking"
    assert cluster.statuses()["news"]["Ready"] == "False MembersNotReady"


def test_replicas_that_all_die_are_not_waking() -> None:
    cluster = starting(news(1), 0)
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False Loading"


def test_a_pool_of_sleepers_is_available_while_its_door_takes_requests() -> None:
    cluster = scale(news(1), 0)
    cluster.settle()
    assert cluster.statuses()["news"]["Available"] == "True Answering"
    assert message_of(cluster, "Available", "news") == (
        "enough sub-models take requests, or wake for them: sport"
    )
    assert cluster.plan(now=LATER).recheck_after is None
    for pod in cluster.pods.values():
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    cluster.look()
    assert cluster.statuses()["news"]["Available"] == "False TooFewMembers"
    assert cluster.statuses()["news"]["Ready"] == "False RouterNotReady"
    assert cluster.plan(now=NOW).recheck_after == 1.0


def test_one_at_zero_that_is_not_scaled_is_nobodys_to_wake() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport"))
    cluster.settle()
    scale(cluster, 0).settle()
    assert cluster.statuses()["news"]["Available"] == "False TooFewMembers"


@pytest.mark.parametrize("role", ["standby", "member"])
def test_the_last_decision_of_the_holder_stands_in_the_status(role: str) -> None:
    cluster = says(news(1), holder(), role)
    cluster.look()
    said = cluster.status("sport")
    assert said["scaling"] == {"desiredReplicas": 1, "reason": "QueueWait", "message": "4 wait", "time": NOW}
    assert cluster.statuses()["sport"]["MetricsAvailable"] == "True MetricsRead"
    says(cluster, holder(message="5 wait"), role)
    assert cluster.look(now=LATER) == 0, "numbers move all the time"
    says(cluster, holder(time=LATER, message="5 wait"), role)
    cluster.look(now=LATER)
    assert cluster.status("sport")["scaling"]["message"] == "5 wait"


def test_a_holder_that_is_not_heard_leaves_what_was_said() -> None:
    cluster = says(news(1), holder(problem="2 of 3 routers are silent"))
    cluster.look()
    said = cluster.status("sport")["scaling"]
    assert cluster.statuses()["sport"]["MetricsAvailable"] == "False MetricsMissing"
    assert message_of(cluster, "MetricsAvailable") == "2 of 3 routers are silent"
    for unheard in (None, ScalingState(), ScalingState(problem="not its own to tell")):
        says(cluster, unheard)
        assert cluster.look(now=LATER) == 0
    assert cluster.status("sport")["scaling"] == said


def test_of_two_that_think_they_hold_the_lease_the_one_that_decided_last_is_heard() -> None:
    for first, second in (("standby", "member"), ("member", "standby")):
        cluster = says(says(news(1), holder(3, NOW), first), holder(1, LATER), second)
        cluster.look()
        assert cluster.status("sport")["scaling"]["desiredReplicas"] == 1


def test_without_autoscaling_nothing_is_said_of_scaling_whatever_routers_say() -> None:
    cluster = says(news(1), holder())
    cluster.look()
    del cluster.sub_models["sport"]["spec"]["autoscaling"]
    cluster.look()
    assert "scaling" not in cluster.status("sport")
    assert "MetricsAvailable" not in cluster.statuses()["sport"]


def test_what_was_said_of_scaling_stays_while_it_is_suspended() -> None:
    cluster = says(news(1), holder())
    cluster.look()
    before = cluster.status("sport")["scaling"]
    cluster.sub_models["sport"]["spec"]["suspend"] = True
    says(cluster, holder(4, LATER, "there is no data"))
    cluster.look()
    assert cluster.status("sport")["scaling"] == before
    assert cluster.statuses()["sport"]["MetricsAvailable"] == "True MetricsRead"


def test_a_decision_that_is_not_written_yet_is_looked_after_once() -> None:
    cluster = says(news(1), holder(3))
    assert cluster.plan(now=LATER).recheck_after == 3.0
    cluster.look(now=LATER)
    assert cluster.status("sport")["scaling"]["desiredReplicas"] == 3
    assert cluster.plan(now=LATER).recheck_after is None


def test_a_long_message_fits_the_status() -> None:
    cluster = says(news(1), holder(message="x" * 5000, problem="y" * 5000))
    cluster.look()
    assert read_status(cluster.sub_models["sport"], SubModelStatus) is not None
    assert len(cluster.status("sport")["scaling"]["message"]) == 1024
    assert len(message_of(cluster, "MetricsAvailable")) == 1024


def test_waking_is_no_warning_and_missing_data_is_one() -> None:
    cluster = news(1)
    scale(cluster, 0).settle()
    before = read_status(cluster.sub_models["sport"], SubModelStatus)
    cluster.clock = NOW
    scale(cluster, 1).look()
    starting(says(cluster, None), 0)
    says(cluster, holder(problem="no router is heard")).look()
    after = read_status(cluster.sub_models["sport"], SubModelStatus)
    assert after is not None
    told = [(one.type, one.reason) for one in events(before, after)]
    assert told == [("Normal", "Waking"), ("Warning", "MetricsMissing")]


def test_another_number_of_replicas_is_no_reason_to_look_for_ten_minutes() -> None:
    """The table carries it, and nothing of what routers make of a table is new."""
    cluster = answering(news(1))
    cluster.clock = NOW
    answering(scale(cluster, 2))
    soon, later = "2026-01-01T00:00:05Z", "2026-01-01T00:01:00Z"
    told = cluster.children[CONFIG_MAP, "news-p-routes"]
    assert told["metadata"]["annotations"]["fastserve.io/earlier-tables"]
    assert cluster.plan(now=soon).recheck_after is not None
    assert cluster.plan(now=later).recheck_after is None
