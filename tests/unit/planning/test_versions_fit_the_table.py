"""The route table's carrier is bounded: rollouts take turns, and no pool is rejected for them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.objects import CONFIG_MAP
from fastserve.api.routes import MAX_ROLLOUTS_BYTES, MAX_TABLE_BYTES, Refused, RouteTable
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.versions import fitting
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.fitting import cost
from fastserve.planning.versions.words import Asked
from pretend_cluster import LATER, SETTINGS, PretendCluster, pool_manifest, sub_model_manifest
from pretend_versions import START, heard, member, policy, target, told

FULL = ["x" * 500] * 197
"""Examples of which nine sub-models' fill the table."""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two or three rollouts."""
    monkeypatch.setattr(fitting, "MAX_ROLLOUTS_BYTES", 9 * 1024)


def names(count: int) -> list[str]:
    return [f"m{number:03}" for number in range(count)]


def crowd(count: int, **spec: Any) -> PretendCluster:
    cluster = PretendCluster(pool_manifest()).add(
        *(sub_model_manifest(name, **spec) for name in names(count))
    )
    cluster.settle()
    return cluster


def ask_all(cluster: PretendCluster, version: str) -> None:
    for manifest in cluster.sub_models.values():
        manifest["spec"]["model"]["version"] = version
        manifest["metadata"]["generation"] += 1


def table(cluster: PretendCluster) -> RouteTable:
    text = cluster.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"]
    return RouteTable.model_validate_json(text)


def size(cluster: PretendCluster) -> int:
    return len(cluster.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"].encode())


def test_of_many_rollouts_at_once_some_wait_and_all_come_to_their_end(narrow: None) -> None:
    cluster = crowd(7)
    ask_all(cluster, "v2")
    cluster.look()
    going = [one for one in table(cluster).members if one.rollout]
    assert 0 < len(going) < 7
    assert sum(cost(one, 1) for one in going) <= fitting.MAX_ROLLOUTS_BYTES
    waiting = cluster.statuses()["m006"]
    assert (waiting["Ready"], waiting["Progressing"]) == ("True InferenceAnswered", "True Waiting")
    for _ in range(16):
        cluster.run()
        cluster.look()
    assert {one.target.version for one in table(cluster).members} == {"v2"}
    assert cluster.statuses()["m006"]["Progressing"] == "False UpToDate"
    assert cluster.settle() == 1


def test_a_pool_whose_specs_nearly_fill_the_table_is_not_rejected_for_its_rollouts() -> None:
    cluster = crowd(9, examples=FULL)
    assert size(cluster) > MAX_TABLE_BYTES - 60 * 1024
    ask_all(cluster, "v2")
    for _ in range(16):
        cluster.look()
        assert cluster.statuses()["news"]["Accepted"] == "True Accepted"
        assert size(cluster) <= MAX_TABLE_BYTES + MAX_ROLLOUTS_BYTES
        cluster.run()
    assert {one.target.version for one in table(cluster).members} == {"v2"}


def test_what_waits_can_be_taken_back(narrow: None) -> None:
    cluster = crowd(7)
    ask_all(cluster, "v2")
    cluster.look()
    ask_all(cluster, "v1")
    for _ in range(16):
        cluster.run()
        cluster.look()
    assert {one.target.version for one in table(cluster).members} == {"v1"}
    assert not [one for one in table(cluster).members if one.rollout]


def test_specs_that_are_too_large_are_rejected_as_before() -> None:
    cluster = crowd(9)
    for manifest in cluster.sub_models.values():
        manifest["spec"]["examples"] = ["x" * 500] * 250
    cluster.look()
    assert cluster.statuses()["news"]["Accepted"] == "False InvalidSpec"


def test_of_what_was_refused_only_what_still_counts_is_remembered_where_room_is_short() -> None:
    cluster = crowd(9, examples=FULL)
    was = table(cluster)
    memory = tuple(
        Refused(
            digest=letter * 64,
            generation=7,
            reason="GateFailed",
            message="y" * 900,
            time="2026-01-01T00:00:00Z",
        )
        for letter in "abcdef"
    )
    known = {"refused": memory, "generation": 7, "asked": "spec", "proved": tuple(one * 64 for one in "123")}
    members = tuple(one.model_copy(update=known) for one in was.members)
    text = was.model_copy(update={"members": members}).model_dump_json(by_alias=True)
    cluster.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"] = text
    plan = plan_objects(cluster.observed(), SETTINGS, LATER)
    assert plan.pool_rejection is None
    assert plan.table is not None
    assert len(plan.table.model_dump_json().encode()) <= MAX_TABLE_BYTES + MAX_ROLLOUTS_BYTES


@settings(max_examples=30)
@given(st.integers(1, 1000), st.integers(0, 1000))
def test_the_room_of_a_rollout_is_enough_for_all_its_replicas(replicas: int, named: int) -> None:
    uid = "0" * 32
    there = [heard(f"{uid}{number:04}", told("a")) for number in range(replicas)]
    rules = policy(maxUnavailable=max(1, named))
    begun = next_member(member("a"), Asked(member("b", 2), rules, replicas), there, START).member
    assert begun.rollout is not None
    whole = begun.rollout.model_copy(update={"named": tuple(one.instance for one in there)})
    assert len(whole.model_dump_json().encode()) <= cost(begun, replicas)
    assert whole.candidate == target("b")
