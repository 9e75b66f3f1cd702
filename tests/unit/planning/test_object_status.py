"""What the status says of each fault, as a person will read it."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from fastserve.api.meta import Failure, LoadProgress
from fastserve.api.objects import DEPLOYMENT, SERVICE
from fastserve.api.routes import RouteTable
from fastserve.api.state import RankState, VersionState
from fastserve.api.submodel import Gpu, SubModelStatus
from fastserve.planning.objects.affinity import affinity
from fastserve.planning.objects.decision import WriteFailure
from fastserve.planning.objects.happenings import events
from fastserve.planning.objects.reading import read_status
from pretend_cluster import (
    LATER,
    NOW,
    PretendCluster,
    conditions_of,
    pool_manifest,
    sub_model_manifest,
    versions_of,
)

CREATING = {"name": "triton", "state": {"waiting": {"reason": "ContainerCreating"}}}


def news(**spec: Any) -> PretendCluster:
    """The pool news whose sub-model sport runs."""
    cluster = PretendCluster().add(sub_model_manifest("sport", **spec))
    cluster.settle()
    return cluster


def with_pod(status: dict[str, Any], state: dict[str, Any] | None = None, **metadata: Any) -> PretendCluster:
    """The pod of sport has this status; its router says this, or does not answer."""
    cluster = news()
    (pod,) = cluster.pods_of("sport")
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], **status}
    pod["metadata"].update(metadata)
    heard = cluster.states.pop(pod["metadata"]["uid"])
    if state is not None:
        assert heard.model is not None
        model = heard.model.model_copy(update=state)
        told = heard.model_copy(update={"ready": False, "because": "it loads", "model": model})
        cluster.states[pod["metadata"]["uid"]] = told.model_copy(update={"versions": versions_of(told)})
    return cluster


def waiting(reason: str, message: str = "", container: str = "triton", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": container, "state": state, **more}]}


def ended(reason: str, code: int, message: str = "") -> dict[str, Any]:
    said = {"reason": reason, "exitCode": code, "message": message, "finishedAt": "2026-01-01T05:00:00Z"}
    return {"terminated": said}


def bytes_of(phase: str, done: int, total: int) -> LoadProgress:
    return LoadProgress.model_validate({"phase": phase, "bytesDone": done, "bytesTotal": total})


def failed_load(reason: str, message: str) -> dict[str, Any]:
    return {
        "load": LoadProgress(phase="FailedToLoad"),
        "last_failure": Failure(reason=reason, message=message, time="2026-01-01T05:00:00Z"),
    }


SILENT_NODE = [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]
NO_SPACE = "The node was low on resource: ephemeral-storage."
PULL = 'failed to pull image "x": not found'


@pytest.mark.parametrize(
    ("status", "state", "reason", "message", "stalled"),
    [
        (waiting("ErrImagePull", PULL), None, "ImageUnpullable", f"triton: {PULL}", False),
        (
            waiting("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {PULL}'),
            None,
            "ImageUnpullable",
            f"triton: {PULL}",
            False,
        ),
        (
            waiting("CreateContainerConfigError", 'secret "keys" not found'),
            None,
            "CreateContainerConfigError",
            'triton: secret "keys" not found',
            False,
        ),
        (
            waiting("CrashLoopBackOff", "back-off 10s", lastState=ended("OOMKilled", 137)),
            None,
            "OOMKilled",
            "triton: the container took more memory than its limit, or the node had none left",
            False,
        ),
        (
            waiting("CrashLoopBackOff", lastState=ended("Error", 1, "starting\nno such option --x\n")),
            None,
            "ContainerFailed",
            "triton: no such option --x",
            False,
        ),
        (
            {"containerStatuses": [{"name": "triton", "state": ended("Error", 2)}]},
            None,
            "ContainerFailed",
            "triton: exit code 2",
            False,
        ),
        (
            {},
            failed_load("CheckpointInvalid", "model.safetensors: header too large"),
            "CheckpointInvalid",
            "model.safetensors: header too large",
            True,
        ),
        (
            waiting("CrashLoopBackOff", lastState=ended("Error", 1)),
            failed_load("CheckpointInvalid", "a tensor is missing"),
            "CheckpointInvalid",
            "a tensor is missing",
            True,
        ),
        ({}, failed_load("DigestMismatch", "sha256:0 came"), "DigestMismatch", "sha256:0 came", True),
        ({}, failed_load("InvalidSpec", "tensor 5"), "InvalidSpec", "tensor 5", True),
        ({}, failed_load("DeviceMissing", "no GPU"), "DeviceMissing", "no GPU", False),
        ({}, failed_load("DiskFull", "no room"), "DiskFull", "no room", False),
        ({}, failed_load("Unauthorized", "403"), "Unauthorized", "403", False),
        (
            {
                "conditions": [
                    {"type": "Ready", "status": "False"},
                    {"type": "ContainersReady", "status": "True"},
                ]
            },
            None,
            "NodeLost",
            "node node-a does not answer",
            False,
        ),
    ],
)
def test_a_fault_at_run_time_is_told_with_the_line_that_matters(
    status: dict[str, Any], state: dict[str, Any] | None, reason: str, message: str, stalled: bool
) -> None:
    cluster = with_pod(status, state)
    cluster.look(now=LATER)
    said, (pod,) = cluster.status("sport"), cluster.pods_of("sport")
    name = pod["metadata"]["name"]
    assert cluster.statuses()["sport"]["Ready"] == f"False {reason}"
    assert said["conditions"][0]["message"] == f"{message} (pod {name})"
    assert (said["lastFailure"]["reason"], said["lastFailure"]["message"]) == (reason, message)
    assert (said["lastFailure"]["pod"], said["lastFailure"]["generation"]) == (name, 1)
    assert (said["placement"][0]["phase"], said["placement"][0]["message"]) == ("Failed", message)
    kstatus = ("Stalled", "Reconciling") if stalled else ("Reconciling", "Stalled")
    assert cluster.statuses()["sport"][kstatus[0]] == f"True {reason}"
    assert kstatus[1] not in cluster.statuses()["sport"]
    accepted = "False InvalidSpec" if reason == "InvalidSpec" else "True Accepted"
    assert cluster.statuses()["sport"]["Accepted"] == accepted
    assert cluster.statuses()["news"]["Ready"] == "False MembersNotReady"
    assert cluster.look(now=LATER) == 0


def test_of_a_pod_without_a_node_the_schedulers_own_words_are_told() -> None:
    words = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    unseen = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    cluster = with_pod({"phase": "Pending", "conditions": [unseen]})
    (pod,) = cluster.pods_of("sport")
    pod["spec"] = {}
    cluster.look()
    said = cluster.statuses()["sport"]
    assert (said["Ready"], said["PlacementReady"]) == ("False Unschedulable", "False Unschedulable")
    assert (said["Reconciling"], "Stalled" in said) == ("True Unschedulable", False)
    placed = cluster.status("sport")["placement"][0]
    assert (placed["phase"], placed["node"], placed["message"]) == ("Pending", "", words)


def test_a_gpu_that_no_node_has_is_named_beside_the_schedulers_words() -> None:
    words = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    unseen = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    cluster = with_pod({"phase": "Pending", "conditions": [unseen]})
    (pod,) = cluster.pods_of("sport")
    pod["spec"] = {"affinity": affinity(None, Gpu(product="NVIDIA-B200"))}
    cluster.look()
    said = f"{words} The GPU is to have nvidia.com/gpu.product NVIDIA-B200"
    assert cluster.status("sport")["placement"][0]["message"] == said


def test_a_pod_that_is_being_made_tells_what_it_mounts() -> None:
    cluster = with_pod({"containerStatuses": [CREATING]})
    (pod,) = cluster.pods_of("sport")
    pod["spec"]["volumes"] = [
        {"name": "a", "secret": {"secretName": "keys"}},
        {"name": "b", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "c", "emptyDir": {}},
        {"name": "d", "image": {"reference": "r.example/sport:1"}},
    ]
    cluster.look()
    assert cluster.status("sport")["placement"][0]["message"] == (
        "its containers are being made; it mounts Secret keys, PersistentVolumeClaim models,"
        " image r.example/sport:1"
    )


def test_a_pod_that_waits_for_a_readiness_gate_is_on_no_lost_node() -> None:
    waits = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"}
    cluster = with_pod({"conditions": [waits, {"type": "ContainersReady", "status": "True"}]})
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False PodsStarting"


@pytest.mark.parametrize(
    "message",
    [
        NO_SPACE,
        'Usage of EmptyDir volume "work" exceeds the limit "64Mi". ',
        "Pod ephemeral local storage usage exceeds the total limit of containers 64Mi. ",
    ],
)
def test_an_evicted_pod_tells_of_the_disk_and_its_successor_is_what_counts(message: str) -> None:
    cluster = news()
    (pod,) = cluster.pods_of("sport")
    evicted = copy.deepcopy(pod)
    evicted["metadata"].update(name="evicted", uid="evicted")
    evicted["status"] = {"phase": "Failed", "reason": "Evicted", "message": message}
    cluster.pods["evicted"] = evicted
    pod["status"]["conditions"] = []
    cluster.states.clear()
    cluster.look(now=LATER)
    said = cluster.status("sport")
    assert said["lastFailure"]["reason"] == "DiskFull"
    assert [one["pod"] for one in said["placement"]] == [pod["metadata"]["name"]]
    assert cluster.statuses()["sport"]["Ready"] == "False PodsStarting"


def test_pods_that_may_not_be_made_are_told_with_the_api_servers_words() -> None:
    cluster = news()
    refused = 'pods "sport-m-1-abcde" is forbidden: exceeded quota: small, requested: pods=1'
    (name,) = [name for name in cluster.names(DEPLOYMENT) if name.startswith("sport")]
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
    cluster.children[(DEPLOYMENT, name)]["status"]["conditions"] = [condition]
    cluster.pods = {name: pod for name, pod in cluster.pods.items() if pod not in cluster.pods_of("sport")}
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False FailedCreate"
    assert cluster.status("sport")["lastFailure"]["message"] == "exceeded quota: small, requested: pods=1"


def test_a_pod_template_that_the_api_server_refuses_is_a_fault_of_the_spec() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport"), sub_model_manifest("world"))
    words = 'Deployment.apps "sport-m-1" is invalid: spec.template.spec.affinity.nodeAffinity: Required value'
    cluster.failures = (WriteFailure(DEPLOYMENT, "sport-m-1", "Refused", words, "sport"),)
    cluster.look()
    assert cluster.statuses()["sport"]["Accepted"] == "False InvalidPodTemplate"
    assert cluster.statuses()["sport"]["Stalled"] == "True InvalidPodTemplate"
    assert cluster.statuses()["world"]["Accepted"] == "True Accepted"
    said = cluster.status("sport")["conditions"][0]["message"]
    assert said == f"spec.podTemplate: the API server refuses the pods: {words}"


def test_a_name_that_turns_out_to_be_taken_is_told_by_whom_it_hinders() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport"))
    taken = WriteFailure(SERVICE, "sport-m", "ForeignObject", "Service sport-m is not ours", "sport", True)
    cluster.failures = (taken,)
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False ForeignObject"
    assert cluster.statuses()["sport"]["Accepted"] == "True Accepted"
    cluster.failures = (WriteFailure(SERVICE, "news", "ForeignObject", "Service news is not ours", "", True),)
    cluster.look()
    assert cluster.statuses()["news"]["Ready"] == "False ForeignObject"
    assert cluster.status("news")["lastFailure"]["message"] == "Service news is not ours"


@pytest.mark.parametrize(("name", "sub_model"), [("sport-m", "sport"), ("news", "")])
def test_nothing_is_ready_while_the_api_server_refuses_one_of_its_objects(name: str, sub_model: str) -> None:
    cluster = news()
    words = f'services "{name}" is forbidden: exceeded quota: small'
    cluster.failures = (WriteFailure(SERVICE, name, "Refused", words, sub_model),)
    cluster.look()
    told = cluster.status(sub_model or "news")
    ready = next(one for one in told["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "Refused", words)
    assert cluster.statuses()[sub_model or "news"]["Reconciling"] == "True Refused"
    cluster.failures = ()
    cluster.look()
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"


def test_pods_of_a_sub_model_that_was_deleted_do_not_make_the_next_of_its_name_ready() -> None:
    cluster = news()
    cluster.sub_models = {"sport": sub_model_manifest("sport", uid="uid-of-the-next")}
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False PodsMissing"
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


@pytest.mark.parametrize(
    ("load", "reason", "phase", "told"),
    [
        (LoadProgress(phase="Pending"), "PodsStarting", "Pending", (0, 0)),
        (
            LoadProgress(phase="Fetching", bytes_done=519, bytes_total=1000),
            "Fetching",
            "Fetching",
            (500, 1000),
        ),
        (
            LoadProgress(phase="Loading", bytes_done=1000, bytes_total=1000),
            "Loading",
            "Loading",
            (1000, 1000),
        ),
        (LoadProgress(phase="FailedToLoad"), "LoadFailed", "Failed", (0, 0)),
        (LoadProgress(phase="Loaded"), "NotReady", "Loading", (0, 0)),
    ],
)
def test_loading_is_told_in_steps(load: LoadProgress, reason: str, phase: str, told: tuple[int, int]) -> None:
    cluster = with_pod({}, {"load": load})
    cluster.look()
    said = cluster.status("sport")
    assert cluster.statuses()["sport"]["Ready"] == f"False {reason}"
    assert cluster.statuses()["sport"]["Progressing"] == f"True {reason}"
    assert (said["load"]["phase"], said["placement"][0]["phase"]) == (load.phase, phase)
    assert (said["load"]["bytesDone"], said["load"]["bytesTotal"]) == told


def test_that_an_earlier_spec_could_not_be_loaded_is_no_word_on_this_one() -> None:
    cluster = with_pod({}, failed_load("DigestMismatch", "sha256:0 came"))
    cluster.look()
    assert cluster.statuses()["sport"]["Stalled"] == "True DigestMismatch"
    spec = cluster.sub_models["sport"]
    spec["spec"]["model"]["version"] = "corrected"
    spec["metadata"]["generation"] = 2
    cluster.look()
    said = cluster.statuses()["sport"]
    assert (said["Ready"], said["Reconciling"]) == ("False PodsStarting", "True PodsStarting")
    assert "Stalled" not in said
    placed = cluster.status("sport")["placement"][0]
    assert (placed["phase"], placed["message"]) == ("Pending", "it has not taken up the new version yet")
    assert cluster.status("sport")["lastFailure"]["generation"] == 1


def test_what_only_the_engine_can_judge_is_a_fault_of_the_spec_all_the_same() -> None:
    said = "spec.parallelism.tensor: 5 ranks do not divide this checkpoint (allowed: 1, 2)"
    cluster = with_pod({}, failed_load("InvalidSpec", said))
    cluster.look()
    accepted = next(one for one in cluster.status("sport")["conditions"] if one["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"], accepted["message"]) == ("False", "InvalidSpec", said)
    assert cluster.statuses()["sport"]["Stalled"] == "True InvalidSpec"
    cluster = with_pod({}, failed_load("DeviceMissing", "no GPU"))
    cluster.look()
    assert cluster.statuses()["sport"]["Accepted"] == "True Accepted"


@pytest.mark.parametrize(("phase", "verb"), [("Fetching", "fetched"), ("Loading", "loaded")])
def test_what_is_under_way_does_not_read_as_done(phase: str, verb: str) -> None:
    cluster = with_pod({}, {"load": bytes_of(phase, 1, 2)})
    cluster.look()
    said = cluster.status("sport")["conditions"][0]["message"]
    assert said == f"the model is being {verb}; 0 of 1 replicas answered an inference"


def test_whatever_a_router_says_fits_a_status() -> None:
    ranks = tuple(RankState(rank=0, pid=1, device="cpu", memory_bytes=size) for size in (1, 2))
    huge = LoadProgress(phase="Loading", bytes_done=10**30, bytes_total=10**30)
    cluster = with_pod({}, {"ranks": ranks, "load": huge})
    cluster.look()
    (placed,) = cluster.status("sport")["placement"]
    assert [one["rank"] for one in placed["ranks"]] == [0]
    assert cluster.status("sport")["load"]["bytesTotal"] == 2**63 - 1
    with pytest.raises(ValidationError):
        RankState(rank=-1, pid=1, device="cpu")


def test_what_answers_is_told_by_routers_and_not_by_what_is_wanted() -> None:
    cluster = news()
    cluster.sub_models["sport"]["spec"]["model"]["version"] = "v2"
    cluster.sub_models["sport"]["metadata"]["generation"] = 2
    old = dict(cluster.states)
    cluster.look()
    cluster.states = old  # the routers still answer with v1
    cluster.look()
    said = cluster.status("sport")
    assert cluster.statuses()["sport"]["Progressing"] == "True HotSwap"
    assert cluster.statuses()["sport"]["Available"] == "True Answering"
    assert (said["activeVersion"], said["targetVersion"]) == ("v1", "v2")
    assert said["observedGeneration"] == 2
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    assert cluster.status("sport")["activeVersion"] == "v2"


def test_a_router_that_is_not_heard_once_makes_nothing_unready() -> None:
    cluster = news()
    cluster.states = {}
    assert cluster.look(now=LATER) == 0


def test_a_router_that_was_never_heard_proves_nothing() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport"))
    cluster.look()
    cluster.run()
    cluster.states = {}
    cluster.look()
    cluster.look()
    assert cluster.statuses()["sport"]["Ready"] == "False PodsStarting"
    assert cluster.statuses()["news"]["RouterReady"] == "False PodsStarting"


def test_at_zero_it_is_ready_once_it_was_proved() -> None:
    cluster = news()
    cluster.sub_models["sport"]["spec"]["replicas"] = 0
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True ScaledToZero"
    cluster.sub_models["sport"]["spec"]["model"]["version"] = "v2"
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "False NotProved"


def test_the_first_status_is_clean_for_kstatus() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport", generation=7))
    cluster.look()
    for name in ("news", "sport"):
        said = cluster.statuses()[name]
        assert said["Ready"].startswith("False ")
        assert said["Reconciling"].startswith("True ")
        assert "Stalled" not in said
    assert cluster.status("sport")["observedGeneration"] == 7


def test_a_transition_time_moves_only_when_the_status_flips() -> None:
    cluster = news()
    (pod,) = cluster.pods_of("sport")
    pod["status"]["conditions"] = []
    cluster.look(now=LATER)
    times = {one["type"]: one["lastTransitionTime"] for one in cluster.status("sport")["conditions"]}
    assert (times["Ready"], times["Available"], times["Accepted"]) == (LATER, LATER, NOW)


def test_a_failure_is_told_until_a_newer_generation_answers() -> None:
    cluster = with_pod({}, failed_load("CheckpointInvalid", "bad"))
    cluster.look()
    cluster.run()
    (pod,) = cluster.pods_of("sport")
    pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    assert cluster.status("sport")["lastFailure"]["reason"] == "CheckpointInvalid"
    cluster.sub_models["sport"]["metadata"]["generation"] = 2
    cluster.settle()
    assert "lastFailure" not in cluster.status("sport")


def test_the_pool_counts_its_members_and_tells_its_address() -> None:
    cluster = PretendCluster()
    cluster.add(*(sub_model_manifest(f"m{number}", model={"storageUri": "file:///x"}) for number in range(7)))
    cluster.add(sub_model_manifest("sport"))
    cluster.settle()
    said = cluster.status("news")
    assert (said["readyMembers"], said["url"]) == ("1/8", "http://news.team.svc.cluster.local")
    assert said["conditions"][0]["message"] == (
        "all sub-models answered an inference; rejected: m0, m1, m2, m3, m4 and 2 more"
    )
    assert [one["name"] for one in said["members"]] == [*(f"m{number}" for number in range(7)), "sport"]


def test_a_pool_without_members_waits_for_them() -> None:
    cluster = PretendCluster()
    cluster.settle()
    assert cluster.statuses()["news"]["Ready"] == "False NoMembers"
    assert cluster.statuses()["news"]["Available"] == "False TooFewMembers"
    assert cluster.status("news")["readyMembers"] == "0/0"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"table_digest": "older"}, "TableNotRead"),
        ({"prototype_keys": {}}, "PrototypesMissing"),
    ],
)
def test_a_pool_is_ready_only_with_a_door_that_knows_all_members(
    changes: dict[str, Any], reason: str
) -> None:
    cluster = news()
    cluster.states = {
        uid: state if state.member else state.model_copy(update=changes)
        for uid, state in cluster.states.items()
    }
    cluster.look()
    assert cluster.statuses()["news"]["RouterReady"] == f"False {reason}"
    assert cluster.statuses()["news"]["Ready"] == f"False {reason}"
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_pool_needs_as_many_members_as_one_answer_does() -> None:
    cluster = PretendCluster(pool=pool_manifest(combination={"minMembers": 2})).add(sub_model_manifest())
    cluster.settle()
    assert cluster.statuses()["news"]["Available"] == "False TooFewMembers"


def test_one_look_after_the_other_is_further_apart() -> None:
    cluster = with_pod({"containerStatuses": [CREATING]})
    cluster.look(now=NOW)
    waits = [
        cluster.plan(now=f"2026-01-01T00:{minutes:02}:{seconds:02}Z").recheck_after
        for minutes, seconds in ((0, 0), (0, 29), (1, 0), (5, 0), (30, 0))
    ]
    assert waits == [1.0, 1.0, 5.0, 15.0, 30.0]
    loading = with_pod({}, {"load": LoadProgress(phase="Fetching")})
    loading.look(now=NOW)
    assert loading.plan(now=LATER).recheck_after == 3.0


@pytest.mark.parametrize(
    ("started", "seconds"), [("2026-01-01T23:59:30Z", 3.0), ("2026-01-01T23:00:00Z", 30.0)]
)
def test_a_router_that_began_a_moment_ago_is_asked_soon_however_long_its_pod_was_waited_for(
    started: str, seconds: float
) -> None:
    router = {"name": "router", "state": {"running": {"startedAt": started}}}
    cluster = with_pod({"initContainerStatuses": [router]})
    cluster.look(now=NOW)
    assert cluster.plan(now=LATER).recheck_after == seconds


def test_a_router_that_has_not_taken_up_its_target_yet_is_asked_soon() -> None:
    cluster = with_pod({}, {"digest": "another", "load": LoadProgress(phase="FailedToLoad")})
    cluster.look(now=NOW)
    assert cluster.plan(now=LATER).recheck_after == 3.0


READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(("reason", "stalled"), [("NotFound", False), ("CheckpointInvalid", True)])
def test_a_new_version_that_fails_is_told_while_the_old_one_answers(reason: str, stalled: bool) -> None:
    cluster = with_pod({"conditions": READY})
    target = cluster.plan().targets["sport"].digest
    old = {"digest": "old", "version": "old", "target_digest": target, **failed_load(reason, "not this one")}
    cluster = with_pod({"conditions": READY}, old)
    answers = VersionState(digest="old", version="old", phase="Loaded", active=True, share=1.0)
    ((uid, heard),) = [(uid, one) for uid, one in cluster.states.items() if one.member == "sport"]
    cluster.states[uid] = heard.model_copy(update={"versions": (answers,)})
    cluster.look()
    status = read_status(cluster.sub_models["sport"], SubModelStatus)
    assert status is not None
    told = {one.type: (one.status, one.reason) for one in status.conditions}
    assert (told["Ready"], told["Available"][0]) == (("False", reason), "True")
    assert ("Stalled" in told) is stalled
    assert status.active_version == "old"
    assert status.last_failure is not None
    assert status.last_failure.reason == reason


def test_a_pod_that_answers_says_nothing_of_a_version_that_is_wanted_no_more() -> None:
    cluster = with_pod({"conditions": READY}, {"target_digest": "another", **failed_load("NotFound", "no")})
    cluster.look()
    status = read_status(cluster.sub_models["sport"], SubModelStatus)
    assert status is not None
    (ready,) = [one for one in status.conditions if one.type == "Ready"]
    assert ready.reason == "PodsStarting"
    assert status.last_failure is None


def test_events_tell_what_turned_and_nothing_twice() -> None:
    cluster = PretendCluster().add(sub_model_manifest("sport"))
    cluster.look()
    first = read_status(cluster.sub_models["sport"], SubModelStatus)
    cluster.settle()
    ready = read_status(cluster.sub_models["sport"], SubModelStatus)
    assert first is not None
    assert ready is not None
    assert [(one.type, one.reason) for one in events(None, first)] == [("Normal", "NewRevision")]
    assert [(one.type, one.reason) for one in events(first, ready)] == [("Normal", "Ready")]
    assert events(ready, ready) == ()
    broken = with_pod({}, failed_load("CheckpointInvalid", "bad"))
    broken.look()
    after = read_status(broken.sub_models["sport"], SubModelStatus)
    assert after is not None
    told = [(one.type, one.reason) for one in events(ready, after)]
    assert told == [
        ("Warning", "NotReady"),
        ("Warning", "CheckpointInvalid"),
    ]


def test_the_note_of_an_event_has_no_more_bytes_than_the_api_server_takes() -> None:
    broken = with_pod({}, failed_load("CheckpointInvalid", "ü" * 2000))
    before = read_status(broken.sub_models["sport"], SubModelStatus)
    broken.look()
    after = read_status(broken.sub_models["sport"], SubModelStatus)
    assert after is not None
    notes = [one.note for one in events(before, after)]
    assert notes
    assert max(len(note.encode()) for note in notes) in {1023, 1024}


def test_a_status_of_a_newer_operator_does_not_make_a_spec_unreadable() -> None:
    cluster = news()
    cluster.sub_models["sport"]["status"]["conditions"] = "of another kind"
    cluster.settle()
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_conditions_of_a_table_are_those_that_the_documents_promise() -> None:
    cluster = news()
    table = cluster.plan().table
    assert isinstance(table, RouteTable)
    assert list(conditions_of(cluster.sub_models["sport"])) == [
        "Ready",
        "Available",
        "Progressing",
        "Accepted",
        "PlacementReady",
    ]
    assert cluster.pool is not None
    assert list(conditions_of(cluster.pool)) == [
        "Ready",
        "Available",
        "Progressing",
        "Accepted",
        "MembersReady",
        "RouterReady",
    ]
