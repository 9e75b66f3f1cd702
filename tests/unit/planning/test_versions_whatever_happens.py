"""A sub-model on a cluster to which anything may happen in the middle of an exchange: it ends at the newest
version that can be loaded or at the last stable one, and the operator never takes more than it may."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from living_cluster import TABLE, LivingCluster, living

happenings = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abcd")),
        st.tuples(st.just("ask badly"), st.sampled_from("xyz")),
        st.tuples(st.just("pause"), st.booleans()),
        st.tuples(st.just("canary"), st.sampled_from(["0", "0.2"])),
        st.tuples(st.just("die"), st.integers(0, 3)),
        st.tuples(st.just("evict"), st.integers(0, 3)),
        st.tuples(st.just("scale"), st.integers(1, 5)),
        st.tuples(st.just("suspend"), st.booleans()),
        st.tuples(st.just("new pods"), st.sampled_from(["red", "blue"])),
        st.tuples(st.just("lose table"), st.none()),
        st.tuples(st.just("deaf"), st.integers(0, 3)),
        st.tuples(st.just("nobody decides"), st.integers(1, 10)),
        st.tuples(st.just("wait"), st.integers(1, 25)),
    ),
    min_size=1,
    max_size=10,
)


def happen(cluster: LivingCluster, what: str, detail: Any) -> None:
    uids = sorted(cluster.routers)
    uid = uids[detail % len(uids)] if uids and type(detail) is int else ""
    rollout = cluster.spec["rollout"]
    match what:
        case "ask" | "ask badly":
            cluster.ask(detail, bad=what == "ask badly")
        case "pause":
            cluster.change(rollout={**rollout, "paused": detail})
        case "canary":
            cluster.change(rollout={**rollout, "canary": {"share": detail, "durationSeconds": 6}})
        case "die" if uid:
            cluster.routers[uid].dead_until = cluster.seconds + 5
        case "evict" if uid:
            evict(cluster, uid)
        case "scale":
            cluster.change(replicas=detail)
        case "suspend":
            cluster.change(suspend=detail)
        case "new pods":
            cluster.change(podTemplate={"labels": {"team": detail}})
        case "lose table":
            cluster.children.pop(TABLE, None)
        case "deaf" if uid:
            cluster.deaf ^= {uid}
    if what in ("die", "evict", "scale", "suspend", "new pods"):
        cluster.shake()
    seconds = detail if what in ("wait", "nobody decides") else 2
    cluster.pass_time(seconds, operator=what != "nobody decides")
    if what in ("suspend", "new pods"):
        cluster.shake()


def evict(cluster: LivingCluster, uid: str) -> None:
    """Another pod, of the same name in this pretence, comes in its place."""
    pod = next(one for one in cluster.pods.values() if one["metadata"]["uid"] == uid)
    cluster.made += 1
    pod["metadata"]["uid"] = f"uid-{cluster.made}-anew"
    cluster.routers.pop(uid)
    cluster.states.pop(uid, None)


def calm(cluster: LivingCluster) -> None:
    """From here on nothing happens any more."""
    cluster.deaf.clear()
    cluster.change(suspend=False, rollout={**cluster.spec["rollout"], "paused": False})
    cluster.shake()
    cluster.pass_time(40 + 14 * cluster.spec["replicas"])


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 2), st.booleans(), happenings)
def test_it_ends_at_the_newest_version_that_loads_or_at_the_last_stable_one(
    replicas: int, may_be_away: int, roomy: bool, happens: list[tuple[str, Any]]
) -> None:
    cluster = living(replicas, may_be_away, roomy=roomy)
    for what, detail in happens:
        happen(cluster, what, detail)
    calm(cluster)
    wanted, replicas = cluster.digest, cluster.spec["replicas"]
    if wanted not in cluster.bad:
        assert cluster.answer_wholly(wanted) == replicas
        assert (cluster.member.target.digest, cluster.member.rollout) == (wanted, None)
    elif cluster.member.target.digest not in cluster.bad:
        assert cluster.answer_wholly(cluster.member.target.digest) == replicas
        assert cluster.member.rollout is None
        assert cluster.statuses()["sport"]["Ready"] == "False VersionRefused"


@pytest.mark.parametrize("gpu", [None, {"count": 1}])
def test_an_edit_that_makes_new_pods_brings_no_refused_version(gpu: dict[str, int] | None) -> None:
    cluster = living(2, 1, roomy=True)
    if gpu:
        cluster.change(gpu=gpu)
        cluster.shake()
        cluster.pass_time(30)
    cluster.ask("b", bad=True)
    cluster.pass_time(30)
    good = cluster.member.target.digest
    assert cluster.statuses()["sport"]["Ready"] == "False VersionRefused"
    cluster.change(podTemplate={"labels": {"team": "red"}})
    for _ in range(60):
        cluster.shake()  # on GPUs old pods go before new ones come
        cluster.pass_time(1)
        assert cluster.member.target.digest == good
    assert cluster.answer_wholly(good) == 2


def test_new_pods_come_with_what_is_known_to_be_good_and_the_asked_version_follows() -> None:
    cluster = living(2, 1, roomy=True)
    stable = cluster.member.target.digest
    cluster.change(podTemplate={"labels": {"team": "red"}})
    cluster.ask("b")
    cluster.shake()
    cluster.pass_time(1)
    assert cluster.member.target.digest == stable
    cluster.pass_time(60)
    assert cluster.answer_wholly(cluster.digest) == 2
    assert (cluster.member.target.digest, cluster.member.rollout) == (cluster.digest, None)
