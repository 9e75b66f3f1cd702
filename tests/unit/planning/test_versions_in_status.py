"""What the operator writes and says while one version takes another one's place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastserve.api.identity import APPLIED_ANNOTATION
from fastserve.api.meta import Failure
from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.objects import CONFIG_MAP, DEPLOYMENT, Manifest
from fastserve.api.routes import Member, RouteTable, Target
from fastserve.api.state import RouterState, VersionState
from fastserve.api.submodel import SubModelStatus
from fastserve.planning.objects.decision import WriteFailure
from fastserve.planning.objects.happenings import events
from fastserve.planning.objects.reading import read_status
from pretend_cluster import PretendCluster, state_of, sub_model_manifest

START = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE = WriteFailure(DEPLOYMENT, "sport", "Invalid", "spec.template.spec.containers: is wrong", "sport")


@dataclass
class SwappingCluster(PretendCluster):
    """Its routers load at once what the table names them for; `faults` are versions that fail, with their
    reason, `slow` those that never finish loading."""

    faults: Mapping[str, str] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    def _state(self, pod: Manifest) -> RouterState:
        said = state_of(pod, self.table)
        member = next((one for one in self.table.members if one.name == said.member), None)
        if member is None:
            return said
        return said.model_copy(update={"versions": tuple(self._versions(member, said.instance))})

    def _versions(self, member: Member, instance: str) -> list[VersionState]:
        rollout = member.rollout
        if rollout is None or instance not in rollout.named:
            return [_loaded(member.target, 1.0)]
        candidate, share = rollout.candidate, float(rollout.share)
        if candidate.version in self.faults:
            reason = self.faults[candidate.version]
            failure = Failure(reason=reason, message="it is no good", time="2026-01-01T00:00:00Z")
            away = {"phase": "FailedToLoad", "last_failure": failure, "generation": rollout.generation}
            return [_loaded(member.target, 1.0), _loaded(candidate, 0.0).model_copy(update=away)]
        if candidate.version in self.slow:
            return [_loaded(member.target, 1.0)]
        stable = [_loaded(member.target, 1 - share)] if share < 1 else []
        return [*stable, _loaded(candidate, share)]

    @property
    def table(self) -> RouteTable:
        text = self.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"]
        return RouteTable.model_validate_json(text)

    @property
    def member(self) -> Member:
        return self.table.members[0]

    def pass_time(self, seconds: int) -> "SwappingCluster":
        """Look every second."""
        for _ in range(seconds):
            self.seconds += 1
            before = read_status(self.sub_models["sport"], SubModelStatus)
            self.look(now=(START + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"))
            self.run()
            after = read_status(self.sub_models["sport"], SubModelStatus)
            assert after is not None
            self.told += [one.reason for one in events(before, after)]
        return self

    def ask(self, version: str, **rollout: Any) -> "SwappingCluster":
        spec = self.sub_models["sport"]
        spec["spec"]["model"]["version"] = version
        spec["spec"]["rollout"] = rollout
        spec["metadata"]["generation"] += 1
        return self

    def wait(self) -> float | None:
        now = (START + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.plan(now=now).recheck_after


def _loaded(target: Target, share: float) -> VersionState:
    return VersionState(
        digest=target.digest, version=target.version, phase="Loaded", active=share > 0, share=share
    )


def serving(**spec: Any) -> SwappingCluster:
    cluster = SwappingCluster().add(sub_model_manifest("sport", **spec))
    assert isinstance(cluster, SwappingCluster)
    cluster.settle()
    cluster.told.clear()
    return cluster


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
    cluster = serving().ask("v2")
    cluster.sub_models["sport"]["spec"]["podTemplate"] = {"labels": {"team": "red"}}
    cluster.pass_time(1)
    assert (cluster.member.target.version, cluster.member.rollout) == ("v2", None)
    cluster.pass_time(10)
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


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


def exchanging(**spec: Any) -> SwappingCluster:
    cluster = serving(**spec)
    cluster.slow = frozenset({"v2"})
    return cluster.ask("v2").pass_time(3)


def test_what_is_stalled_is_not_reconciling_too() -> None:
    cluster = exchanging()
    cluster.failures = (TEMPLATE,)
    cluster.pass_time(2)
    said = cluster.statuses()["sport"]
    assert said["Stalled"] == "True InvalidPodTemplate"
    assert "Reconciling" not in said
    assert said["Progressing"] == "False InvalidPodTemplate"


def test_of_a_rejected_pool_no_exchange_is_under_way() -> None:
    cluster = exchanging()
    assert cluster.pool is not None
    cluster.pool["spec"]["selection"] = {"fallback": {"type": "SubModel", "subModel": "nobody"}}
    cluster.pool["metadata"]["generation"] += 1
    cluster.pass_time(2)
    said = cluster.statuses()["sport"]
    assert said["Ready"] == "False PoolRejected"
    assert "Reconciling" not in said
    assert said["Progressing"] == "False PoolRejected"
    cluster.pass_time(1)
    assert cluster.wait() is None


def test_scaled_to_zero_and_back_the_exchange_goes_on() -> None:
    cluster = exchanging(replicas=2)
    cluster.sub_models["sport"]["spec"]["replicas"] = 0
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(20)
    written = len(cluster.writes)
    cluster.pass_time(700)
    assert len(cluster.writes) == written
    assert cluster.wait() is None
    cluster.slow = frozenset()
    cluster.sub_models["sport"]["spec"]["replicas"] = 2
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(40)
    assert cluster.status("sport")["activeVersion"] == "v2"
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    assert cluster.member.refused == ()


def test_suspended_in_an_exchange_nothing_is_reconciling() -> None:
    cluster = exchanging()
    cluster.sub_models["sport"]["spec"]["suspend"] = True
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(20)
    said = cluster.statuses()["sport"]
    assert said["Ready"] == "False Suspended"
    assert "Reconciling" not in said
    assert cluster.wait() is None


def older(text: str) -> str:
    """The table as the FastServe before wrote it."""
    table = json.loads(text)
    for name in ("tenants", "resilience", "access"):
        del table[name]
    del table["limits"]["maxConnections"]
    for member in table["members"]:
        for name in ("rollout", "proved", "refused", "generation", "asked"):
            del member[name]
    return json.dumps(table)


def test_a_table_of_an_older_fastserve_is_written_anew_once() -> None:
    cluster = serving(replicas=2)
    live = cluster.children[(CONFIG_MAP, "news-p-routes")]
    live["metadata"]["annotations"] = {APPLIED_ANNOTATION: "of another document"}
    now, live["data"]["routes.json"] = live["data"]["routes.json"], older(live["data"]["routes.json"])
    cluster.settle()
    assert cluster.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"] == now


def test_a_version_that_overtakes_another_is_told_as_started() -> None:
    cluster = serving(replicas=4).ask("v2").pass_time(4).ask("v3").pass_time(30)
    assert cluster.status("sport")["activeVersion"] == "v3"
    told = [one for one in cluster.told if one.startswith("HotSwap")]
    assert told == ["HotSwapStarted", "HotSwapReturning", "HotSwapStarted", "HotSwapPromoted"]


def test_a_version_that_overtakes_another_with_new_pods_aborts_nothing() -> None:
    cluster = exchanging()
    cluster.ask("v3").sub_models["sport"]["spec"]["podTemplate"] = {"labels": {"team": "red"}}
    cluster.pass_time(10)
    assert cluster.status("sport")["activeVersion"] == "v3"
    assert "HotSwapAborted" not in cluster.told
