"""``maxUnavailable`` is about all replicas that are away, not only about those that exchange."""

from fastserve.planning.versions.words import Phase
from pretend_versions import PretendPool, PretendRouter, policy

RULES = policy(progressDeadlineSeconds=100)
FOREVER = 1e9


def close_pool(count: int = 3) -> PretendPool:
    return PretendPool.serving("a", [PretendRouter(f"r{i}", roomy=False) for i in range(count)], RULES)


def named(pool: PretendPool) -> tuple[str, ...]:
    assert pool.table is not None
    return pool.table.rollout.named if pool.table.rollout else ()


def test_nobody_begins_while_another_replica_is_away() -> None:
    pool = close_pool()
    pool.routers[2].dead_until = pool.seconds + 20
    pool.ask("b")
    pool.run(15)
    assert named(pool) == ()
    assert "others are away" in pool.look().because
    pool.run(60)
    assert pool.answers("b") == 3


def test_nobody_begins_while_a_replica_is_missing_as_after_an_eviction() -> None:
    pool = close_pool()
    pool.ask("b")
    evicted = pool.routers.pop()
    pool.run(15)
    assert named(pool) == ()
    pool.routers.append(PretendRouter("r2-again", load_seconds=evicted.load_seconds))
    pool.run(60)
    assert pool.answers("b") == 3


def test_the_next_one_waits_while_one_that_was_exchanged_is_away() -> None:
    pool = close_pool()
    pool.ask("b")
    while pool.answers("b") < 1:
        pool.run(1)
    pool.routers[2].dead_until = pool.seconds + 30
    first = named(pool)
    pool.run(25)
    assert set(named(pool)) - set(first) <= {"r2"}
    pool.run(60)
    assert pool.answers("b") == 3


def test_who_is_away_and_heard_takes_the_candidate_meanwhile() -> None:
    """Its stable version cannot be loaded, and it loses nothing by trying the other one."""
    pool = close_pool()
    pool.routers[2].loaded, pool.routers[2].bad = {}, {"a": "CheckpointInvalid"}
    pool.ask("b")
    pool.run(1)
    assert named(pool) == ("r2",)
    pool.run(60)
    assert pool.answers("b") == 3


def test_one_that_never_comes_is_waited_for_until_the_deadline() -> None:
    pool = close_pool()
    pool.routers[2].dead_until = FOREVER
    pool.ask("b")
    pool.run(90)
    assert named(pool) == ()
    pool.run(2 * 100 + 20)
    assert (pool.answers("b"), pool.look().phase) == (2, Phase.REST)


def test_waiting_for_others_is_no_fault_of_the_version() -> None:
    pool = close_pool()
    pool.ask("b")
    while pool.answers("b") < 1:
        pool.run(1)
    for router in pool.routers[1:]:
        router.dead_until = pool.seconds + 90
    pool.run(200)
    assert pool.table is not None
    assert pool.table.refused == ()
    assert pool.answers("b") == 3


def test_a_canary_does_not_begin_while_another_replica_is_away() -> None:
    pool = close_pool()
    pool.routers[2].dead_until = pool.seconds + 20
    pool.ask("b", canary={"share": "0.5", "durationSeconds": 5})
    assert pool.run(15).phase is Phase.CANARY
    assert named(pool) == ()
    pool.run(60)
    assert pool.answers("b") == 3


def test_going_back_waits_for_those_that_are_away_for_other_reasons() -> None:
    pool = close_pool(4)
    pool.ask("b")
    while pool.answers("b") < 2:
        pool.run(1)
    pool.routers[3].dead_until = pool.seconds + 20
    pool.ask("a")
    pool.run(10)
    assert pool.answers("b") == 2
    pool.run(60)
    assert pool.answers("a") == 4


def test_where_the_stable_version_answers_nowhere_the_last_ones_do_not_go() -> None:
    """A source that is gone, and a candidate that is refused: it answers on."""
    pool = close_pool(3)
    for router in pool.routers:
        router.bad["a"] = "NotFound"
    pool.ask("b")
    while pool.answers("b") < 2:
        pool.run(1)
    pool.routers[2].loaded = {}
    pool.ask("c")
    for router in pool.routers:
        router.bad["c"] = "CheckpointInvalid"
    pool.run(2000, tick=10)
    assert sum(one.ready for one in pool.hear()) >= 1


def test_more_replicas_than_are_wanted_widen_no_budget() -> None:
    pool = close_pool(5)
    pool.ask("b", maxUnavailable=2)
    pool.asked = type(pool.asked)(pool.asked.wanted, pool.asked.policy, 3)
    pool.run(1)
    assert len(named(pool)) == 2
