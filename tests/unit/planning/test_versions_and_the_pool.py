"""What the pool's status says while one of its sub-models exchanges versions."""

from fastserve.api.identity import ROLE_LABEL
from fastserve.api.modelpool import ModelPoolStatus
from fastserve.planning.objects.happenings import events
from fastserve.planning.objects.reading import read_status
from pretend_cluster import conditions_of, sub_model_manifest
from swapping_cluster import SwappingCluster, exchanging, serving

CANARY = {"canary": {"share": "0.2", "durationSeconds": 5}}


def statuses(cluster: SwappingCluster, seconds: int) -> list[ModelPoolStatus]:
    """The pool's, second after second."""
    found = []
    for _ in range(seconds):
        cluster.pass_time(1)
        status = read_status(cluster.pool, ModelPoolStatus)
        assert status is not None
        found.append(status)
    return found


def test_from_its_beginning_to_its_end_the_pool_is_ready_and_tells_no_event() -> None:
    cluster = serving(replicas=3)
    before = read_status(cluster.pool, ModelPoolStatus)
    cluster.ask("v2", **CANARY)
    told = statuses(cluster, 30)
    assert cluster.member.target.version == "v2"
    for one in told:
        said = conditions_of({"status": one.model_dump(by_alias=True)})
        assert said["Ready"] == "True InferenceAnswered"
        assert said["Available"] == "True Answering"
        assert (said["MembersReady"], said["RouterReady"]) == ("True MembersReady", "True TableRead")
        assert events(before, one) == ()


def test_it_is_progressing_as_long_as_a_sub_model_is() -> None:
    cluster = exchanging(replicas=2)
    said = cluster.statuses()["news"]
    assert said["Progressing"] == "True MembersExchanging"
    assert said["Reconciling"] == "True MembersExchanging"
    progressing = next(one for one in cluster.status("news")["conditions"] if one["type"] == "Progressing")
    assert "sport" in progressing["message"]
    cluster.slow = frozenset()
    cluster.pass_time(15)
    said = cluster.statuses()["news"]
    assert said["Progressing"] == "False UpToDate"
    assert "Reconciling" not in said


def test_a_refused_version_makes_the_pool_unready_and_leaves_it_available() -> None:
    cluster = serving()
    cluster.faults = {"v2": "CheckpointInvalid"}
    cluster.ask("v2").pass_time(10)
    said = cluster.statuses()["news"]
    assert (said["Ready"], said["Available"]) == ("False MembersNotReady", "True Answering")
    assert said["Progressing"] == "False MembersNotReady"


def test_a_door_that_lacks_more_than_versions_is_not_ready() -> None:
    cluster = exchanging()
    cluster.add(sub_model_manifest("world"))
    cluster.look(now="2026-01-01T00:01:00Z")
    assert cluster.statuses()["news"]["RouterReady"] == "False TableNotRead"


def test_a_door_that_stops_reading_is_told() -> None:
    cluster = serving(replicas=3)
    uid = next(
        pod["metadata"]["uid"]
        for pod in cluster.pods.values()
        if pod["metadata"]["labels"][ROLE_LABEL] == "standby"
    )
    stale = cluster.states[uid]
    cluster.ask("v2")
    for _ in range(4):
        cluster.pass_time(1)
        cluster.states[uid] = stale
    assert cluster.statuses()["news"]["RouterReady"] == "False TableNotRead"
