"""Versions are exchanged whatever happens meanwhile to how many replicas there are."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.planning.versions.fitting import NAME_BYTES, cost
from swapping_cluster import SwappingCluster, exchanging, serving

SCALED: dict[str, Any] = {"minReplicas": 0, "maxReplicas": 4}
CANARY = {"canary": {"share": "0.5", "durationSeconds": 8}}


def scale(cluster: SwappingCluster, replicas: int) -> SwappingCluster:
    """Somebody writes ``/scale``."""
    sport = cluster.sub_models["sport"]
    sport["spec"]["replicas"] = replicas
    sport["metadata"]["generation"] += 1
    return cluster


def scaled(replicas: int) -> SwappingCluster:
    return serving(replicas=replicas, autoscaling=SCALED)


def answers(cluster: SwappingCluster) -> set[str]:
    """Versions that take requests."""
    own = [state for state in cluster.states.values() if state.member == "sport"]
    return {one.version for state in own for one in state.versions if one.active}


@pytest.mark.parametrize("rollout", [{}, CANARY], ids=["hot swap", "canary"])
def test_scaled_to_zero_in_the_midst_of_a_rollout_it_waits_and_goes_on(rollout: dict[str, Any]) -> None:
    cluster = scaled(3)
    cluster.ask("v2", **rollout).pass_time(2)
    begun = cluster.member.rollout
    assert begun is not None
    scale(cluster, 0).pass_time(900)
    kept = cluster.member
    assert (kept.target.version, kept.refused) == ("v1", ())
    assert kept.rollout is not None
    assert (kept.rollout.candidate, kept.rollout.since, kept.rollout.named) == (
        begun.candidate,
        begun.since,
        (),
    )
    assert cluster.wait() is None, "at zero there is nothing to look at"
    scale(cluster, 2).pass_time(2)
    assert "v1" in answers(cluster), "new replicas come with what is known to be good"
    cluster.pass_time(40)
    assert (cluster.member.target.version, cluster.member.rollout) == ("v2", None)
    assert answers(cluster) == {"v2"}
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_a_refused_version_is_not_tried_again_by_waking() -> None:
    cluster = scaled(2)
    cluster.faults = {"v2": "CheckpointInvalid"}
    cluster.ask("v2").pass_time(20)
    assert [one.reason for one in cluster.member.refused] == ["CheckpointInvalid"]
    for replicas in (0, 3):
        scale(cluster, replicas).pass_time(20)
        assert cluster.member.rollout is None
        assert cluster.member.target.version == "v1"
    assert answers(cluster) == {"v1"}
    assert cluster.statuses()["sport"]["Ready"] == "False VersionRefused"


def test_a_version_asked_for_in_sleep_is_what_it_wakes_with() -> None:
    cluster = scale(scaled(1), 0).pass_time(3)
    cluster.ask("v2").pass_time(3)
    assert cluster.statuses()["sport"]["Ready"] == "False NotProved"
    scale(cluster, 1).pass_time(5)
    assert answers(cluster) == {"v2"}
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"


def test_it_stays_ready_through_an_exchange_while_replicas_come_and_go() -> None:
    cluster = scaled(2).ask("v2")
    cluster.told.clear()
    for replicas in (4, 1, 3, 2):
        scale(cluster, replicas).pass_time(1)
    cluster.pass_time(30)
    assert "NotReady" not in cluster.told
    assert (cluster.member.target.version, answers(cluster)) == ("v2", {"v2"})


def test_a_rollout_has_room_for_as_many_replicas_as_there_may_come_to_be() -> None:
    others = {f"m{number}": "v1" for number in range(3)}
    cluster = exchanging(replicas=1, autoscaling={"maxReplicas": 1000})
    assert cluster.member.rollout is not None
    assert cost(cluster.member, 1000) > 900 * NAME_BYTES
    sport = cluster.sub_models["sport"]
    for name in others:
        made = {**sport, "metadata": {**sport["metadata"], "name": name, "uid": f"uid-{name}"}}
        cluster.add({**made, "spec": {**sport["spec"], "model": {**sport["spec"]["model"], "version": "v1"}}})
    cluster.pass_time(3)
    for name in others:
        cluster.sub_models[name]["spec"]["model"]["version"] = "v2"
    cluster.pass_time(1)
    assert sum(one.rollout is not None for one in cluster.table.members) == 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12)), max_size=6),
    st.sampled_from([{}, CANARY, {"maxUnavailable": 2}]),
)
def test_whatever_replicas_do_the_asked_version_answers_in_the_end(
    moves: list[tuple[int, int]], rollout: dict[str, Any]
) -> None:
    cluster = scaled(2).ask("v2", **rollout)
    for replicas, seconds in moves:
        scale(cluster, replicas).pass_time(seconds)
        assert cluster.member.refused == ()
    scale(cluster, 3).pass_time(60)
    assert (cluster.member.target.version, cluster.member.rollout) == ("v2", None)
    assert answers(cluster) == {"v2"}
