"""What the operator writes and says while one version takes another one's place."""

from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.objects import CONFIG_MAP
from fastserve.planning.objects.reading import read_status
from swapping_cluster import SwappingCluster, serving


def test_a_version_takes_the_place_of_another_and_the_events_tell_it() -> None:
    cluster = serving(replicas=3).ask("v2").pass_time(20)
    status = cluster.status("sport")
    assert (status["activeVersion"], status["targetVersion"]) == ("v2", "v2")
    assert (cluster.member.target.version, cluster.member.rollout) == ("v2", None)
    assert cluster.statuses()["sport"]["Progressing"] == "False UpToDate"
    assert [one for one in cluster.told if one.startswith("HotSwap")] == ["HotSwapStarted", "HotSwapPromoted"]


def test_meanwhile_it_stays_ready_and_is_progressing() -> None:
    cluster = serving(replicas=3)
    cluster.slow = frozenset({"v2"})
    cluster.ask("v2").pass_time(5)
    said = cluster.statuses()["sport"]
    assert said["Ready"] == "True InferenceAnswered"
    assert said["Progressing"] == "True HotSwap"
    assert said["Reconciling"] == "True HotSwap"
    assert cluster.status("sport")["activeVersion"] == "v1"
    assert cluster.wait() == 1.5


def test_a_canary_is_told_with_both_versions() -> None:
    cluster = serving().ask("v2", canary={"share": "0.2", "durationSeconds": 60}).pass_time(20)
    assert cluster.statuses()["sport"]["Progressing"] == "True Canary"
    status = cluster.status("sport")
    assert status["activeVersion"] == "v1, v2"
    assert status["placement"][0]["version"] == "v1, v2"
    cluster.pass_time(60)
    assert cluster.status("sport")["activeVersion"] == "v2"


def test_a_refused_version_leaves_the_stable_one_answering() -> None:
    cluster = serving()
    cluster.faults = {"v2": "CheckpointInvalid"}
    cluster.ask("v2").pass_time(10)
    said = cluster.statuses()["sport"]
    assert (said["Ready"], said["Available"]) == ("False VersionRefused", "True Answering")
    assert (said["Stalled"], said["Progressing"]) == ("True VersionRefused", "False VersionRefused")
    status = cluster.status("sport")
    assert (status["activeVersion"], status["targetVersion"]) == ("v1", "v2")
    assert status["lastFailure"]["reason"] == "CheckpointInvalid"
    assert "HotSwapRefused" in cluster.told
    assert cluster.told.count("HotSwapRefused") == 1


def test_after_a_refusal_nothing_is_looked_at_and_nothing_written() -> None:
    cluster = serving()
    cluster.faults = {"v2": "CheckpointInvalid"}
    cluster.ask("v2").pass_time(10)
    written = len(cluster.writes)
    cluster.pass_time(60)
    assert len(cluster.writes) == written
    assert cluster.wait() is None


def test_the_old_version_written_again_ends_what_was_refused() -> None:
    cluster = serving()
    cluster.faults = {"v2": "CheckpointInvalid"}
    cluster.ask("v2").pass_time(10).ask("v1").pass_time(5)
    said = cluster.statuses()["sport"]
    assert said["Ready"] == "True InferenceAnswered"
    assert "Stalled" not in said


def test_pause_and_abort_are_told() -> None:
    cluster = serving(replicas=2)
    canary = {"share": "0.2", "durationSeconds": 600}
    cluster.ask("v2", canary=canary).pass_time(5)
    cluster.ask("v2", canary=canary, paused=True).pass_time(5)
    assert cluster.statuses()["sport"]["Progressing"] == "True Paused"
    assert cluster.wait() is None
    cluster.ask("v2", canary=canary).pass_time(5).ask("v1").pass_time(5)
    told = [one for one in cluster.told if one.startswith("HotSwap")]
    assert told[:3] == ["HotSwapStarted", "HotSwapPaused", "HotSwapResumed"]
    assert told[3:] == ["HotSwapReturning", "HotSwapAborted"]


def test_at_rest_the_table_is_the_same_at_every_look() -> None:
    cluster = serving(replicas=2).ask("v2").pass_time(20)
    before, written = cluster.table, len(cluster.writes)
    cluster.pass_time(100)
    assert (cluster.table, len(cluster.writes)) == (before, written)


def test_scaling_changes_no_byte_of_the_table() -> None:
    cluster = serving(replicas=2)
    before = cluster.children[(CONFIG_MAP, "news-p-routes")]["data"]
    cluster.sub_models["sport"]["spec"]["replicas"] = 5
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(5)
    assert cluster.children[(CONFIG_MAP, "news-p-routes")]["data"] == before


def test_who_decides_next_goes_on_from_the_table() -> None:
    cluster = serving().ask("v2", canary={"share": "0.2", "durationSeconds": 60}).pass_time(30)
    begun = cluster.member.rollout
    other = SwappingCluster(
        pool=cluster.pool,
        sub_models=cluster.sub_models,
        children=cluster.children,
        pods=cluster.pods,
        states=cluster.states,
        seconds=cluster.seconds,
    )
    assert begun is not None
    other.pass_time(1)
    assert other.member.rollout == begun
    other.pass_time(40)
    assert other.member.target.version == "v2"


def test_a_version_that_comes_with_new_pods_is_no_hot_swap() -> None:
    cluster = serving()
    spec = cluster.sub_models["sport"]["spec"]
    cluster.ask("v2")
    spec["gpu"] = {"count": 1}
    cluster.pass_time(1)
    assert cluster.member.target.version == "v2"
    cluster.pass_time(10)
    assert cluster.member.rollout is None
    assert not [one for one in cluster.told if one.startswith("HotSwap")]
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_version_that_is_asked_for_with_new_pods_follows_them() -> None:
    cluster = serving().ask("v2")
    cluster.sub_models["sport"]["spec"]["podTemplate"] = {"labels": {"team": "red"}}
    cluster.look()
    assert cluster.member.target.version == "v1"
    assert cluster.statuses()["sport"]["Progressing"].startswith("True ")
    cluster.pass_time(20)
    assert (cluster.member.target.version, cluster.member.rollout) == ("v2", None)
    assert "HotSwapPromoted" in [one.split(":")[0] for one in cluster.told]


def test_the_pool_names_both_versions_of_its_member() -> None:
    cluster = serving().ask("v2", canary={"share": "0.2", "durationSeconds": 60}).pass_time(20)
    assert cluster.pool is not None
    status = read_status(cluster.pool, ModelPoolStatus)
    assert status is not None
    assert status.members[0].version == "v1, v2"


def test_a_sub_model_at_zero_takes_its_new_version_at_once() -> None:
    cluster = serving()
    cluster.sub_models["sport"]["spec"]["replicas"] = 0
    cluster.ask("v1").pass_time(3).ask("v2").pass_time(3)
    assert (cluster.member.target.version, cluster.member.rollout) == ("v2", None)


def test_a_version_that_its_user_did_not_name_is_told_as_one_hot_swap() -> None:
    cluster = serving(replicas=3)
    model = cluster.sub_models["sport"]["spec"]["model"]
    model.pop("version", None)
    cluster.pass_time(20)
    cluster.told.clear()
    model["storageUri"] = "s3://models/another"
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(30)
    told = [one for one in cluster.told if one.startswith("HotSwap")]
    assert told == ["HotSwapStarted", "HotSwapPromoted"]
