"""The stable version changes from one look to the next: who answers with another one does not leave with all
the others."""

from dataclasses import replace

from fastserve.api.objects import CONFIG_MAP
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Asked, Heard, Phase
from pretend_versions import START, PretendPool, PretendRouter, failed, heard, member, policy, told
from swapping_cluster import SwappingCluster, serving

CLOSE = policy()


def close_pool(count: int = 4) -> PretendPool:
    """Replicas without room for two versions."""
    return PretendPool.serving("a", [PretendRouter(f"r{i}", roomy=False) for i in range(count)], CLOSE)


def fewest_ready(pool: PretendPool, since: float) -> int:
    """The fewest replicas that took requests at any look from then on."""
    looks = zip(pool.history, pool.heard_then, strict=True)
    return min(sum(one.ready for one in then) for (at, _), then in looks if at >= since)


def test_without_a_table_replicas_take_the_asked_version_a_few_at_a_time() -> None:
    pool = close_pool()
    pool.ask("b")
    began = pool.seconds
    pool.lose_table()
    pool.run(60)
    assert pool.answers("b") == 4
    assert fewest_ready(pool, began + 1) == 3
    assert pool.table is not None
    assert (pool.table.target.version, pool.table.rollout) == ("b", None)


def test_without_a_table_replicas_that_are_silent_keep_what_they_have_until_they_speak() -> None:
    silent = [Heard(f"r{i}", None, ready=True) for i in range(3)]
    asked = Asked(member("b"), CLOSE, 3)
    first = next_member(None, asked, silent, START).member
    assert first.rollout is not None
    assert (first.rollout.named, first.rollout.paused) == (("r0", "r1", "r2"), True)
    assert next_member(first, asked, silent, START).member == first
    spoken = next_member(first, asked, [heard(f"r{i}", told("b")) for i in range(3)], START)
    assert (spoken.member.rollout, spoken.phase) == (None, Phase.REST)


def test_a_table_that_is_lost_in_the_middle_of_an_exchange_leads_to_its_end() -> None:
    pool = close_pool()
    pool.ask("b")
    pool.run(6)
    began = pool.seconds
    pool.lose_table()
    pool.run(60)
    assert pool.answers("b") == 4
    assert fewest_ready(pool, began + 1) >= 2  # the one that was away, and one more that went


def test_a_bad_version_takes_no_more_replicas_with_it_than_may_be_away() -> None:
    pool = close_pool()
    for router in pool.routers:
        router.bad["b"] = "CheckpointInvalid"
    pool.ask("b")
    began = pool.seconds
    pool.lose_table()
    pool.run(5000, tick=20)
    assert fewest_ready(pool, began + 1) == 3
    pool.ask("a")
    pool.run(30)
    assert pool.answers("a") == 4


def test_old_pods_keep_their_version_until_they_end() -> None:
    pool = close_pool(2)
    pool.ask("b")
    wanted = pool.asked.wanted
    engine = wanted.target.engine.model_copy(update={"devices": ("cuda:0", "cuda:1")})
    wanted = wanted.model_copy(update={"target": wanted.target.model_copy(update={"engine": engine})})
    pool.asked = replace(pool.asked, wanted=wanted, new_pods=True)
    outgoing = [
        Heard(one.name, heard(one.name, told("a")).state, ready=True, outgoing=True) for one in pool.routers
    ]
    decision = next_member(pool.table, pool.asked, outgoing, START)
    assert decision.member.target.version == "b"
    assert decision.member.rollout is not None
    assert decision.member.rollout.named == ("r0", "r1")
    assert next_member(decision.member, pool.asked, outgoing, START).member == decision.member
    new = [heard("n0", told("b")), heard("n1", told("b"))]
    over = next_member(decision.member, replace(pool.asked, new_pods=False), new, START)
    assert (over.member.rollout, over.phase) == (None, Phase.REST)


def test_an_abort_with_new_pods_sends_nobody_back_at_once() -> None:
    pool = close_pool()
    pool.ask("b")
    while pool.answers("b") < 3:
        pool.run(1)
    pool.ask("a")
    pool.asked = replace(pool.asked, new_pods=True)
    began = pool.seconds
    pool.run(60)
    assert pool.answers("a") == 4
    assert fewest_ready(pool, began + 1) >= 2


def test_another_version_while_replicas_are_held_holds_them_on() -> None:
    pool = close_pool()
    for router in pool.routers:
        router.bad["b"] = "CheckpointInvalid"
    pool.ask("b")
    pool.lose_table()
    pool.run(10)
    pool.ask("c")
    began = pool.seconds
    pool.run(60)
    assert pool.answers("c") == 4
    assert fewest_ready(pool, began) == 3


def test_a_pause_lets_nobody_go() -> None:
    pool = close_pool()
    pool.ask("b", paused=True)
    assert pool.lose_table().phase is Phase.PAUSED
    pool.run(100)
    assert pool.answers("a") == 4
    pool.ask("b", paused=False)
    pool.run(60)
    assert pool.answers("b") == 4


def test_replicas_that_answer_with_something_else_at_rest_are_held_too() -> None:
    """As pods that were away, unheard, when the version before was exchanged."""
    back = [heard("r0", told("b")), *(heard(f"r{i}", told("a")) for i in (1, 2, 3))]
    decision = next_member(member("b"), Asked(member("b"), CLOSE, 4), back, START)
    assert decision.member.rollout is not None
    assert decision.member.rollout.named == ("r2", "r3")


def test_who_is_going_already_counts() -> None:
    now = [heard("r0", failed("b", 0), ready=False), *(heard(f"r{i}", told("a")) for i in (1, 2, 3))]
    decision = next_member(None, Asked(member("b"), CLOSE, 4), now, START)
    assert decision.member.rollout is not None
    assert decision.member.rollout.named == ("r1", "r2", "r3")


def answering(cluster: SwappingCluster, version: str) -> int:
    return sum(
        any(v.version == version and v.active for v in one.versions) for one in cluster.states.values()
    )


def test_on_a_cluster_a_lost_table_sends_nobody_away_at_once() -> None:
    cluster = serving(replicas=4)
    cluster.ask("v2")
    del cluster.children[(CONFIG_MAP, "news-p-routes")]
    cluster.pass_time(1)
    assert answering(cluster, "v1") == 3
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    cluster.pass_time(20)
    assert answering(cluster, "v2") == 4
    assert cluster.statuses()["sport"]["Progressing"] == "False UpToDate"


def claimed(cluster: SwappingCluster) -> SwappingCluster:
    """Its version lies on a claim, which is in the pods' template."""
    cluster.sub_models["sport"]["spec"]["model"]["storageUri"] = "pvc://old/sport"
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(30)
    assert cluster.member.target.storage_uri == "pvc://old/sport"
    assert cluster.member.rollout is None
    return cluster


def test_on_a_cluster_old_pods_answer_until_the_new_ones_do() -> None:
    cluster = claimed(serving(replicas=2)).ask("v2")
    cluster.sub_models["sport"]["spec"]["model"]["storageUri"] = "pvc://new/sport"
    cluster.look()
    held = cluster.member.rollout
    assert held is not None
    assert set(held.named) == {pod["metadata"]["uid"] for pod in cluster.pods_of("sport")}
