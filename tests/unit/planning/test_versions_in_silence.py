"""A replica that takes requests and was not heard this once says nothing against a version."""

from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Heard, Phase
from pretend_versions import PretendPool, PretendRouter, policy

LONG = policy(canary={"share": "0.1", "durationSeconds": 3600}, progressDeadlineSeconds=600)


def in_a_long_canary(replicas: int = 1) -> PretendPool:
    """A pool whose canary has lasted longer than its deadline."""
    pool = PretendPool.serving("a", [PretendRouter(f"r{i}") for i in range(replicas)], LONG)
    pool.ask("b")
    pool.run(20)
    pool.seconds += 900
    return pool


def test_one_unheard_word_in_a_long_canary_changes_nothing() -> None:
    pool = in_a_long_canary()
    before = pool.look().member
    pool.routers[0].mute = True
    decision = pool.look()
    assert decision.phase is Phase.CANARY
    assert decision.member == before


def test_a_canary_is_not_over_while_its_replica_is_silent() -> None:
    pool = in_a_long_canary()
    pool.routers[0].mute = True
    pool.seconds += 3000
    assert pool.look().phase is Phase.CANARY
    pool.routers[0].mute = False
    decision = pool.look()
    assert decision.member.rollout is not None
    assert decision.member.rollout.share == "1"


def test_many_unheard_words_refuse_nothing() -> None:
    pool = in_a_long_canary()
    for _ in range(10):
        pool.routers[0].mute = True
        pool.run(2)
        pool.routers[0].mute = False
        pool.run(5)
    assert pool.table is not None
    assert pool.table.refused == ()
    assert pool.table.rollout is not None
    assert pool.table.rollout.trials == 1


def test_a_replica_lost_in_a_long_canary_is_given_the_deadline_to_come_back() -> None:
    pool = in_a_long_canary()
    pool.routers[0].dead_until = pool.seconds + 30
    decision = pool.run(60)
    assert decision.phase is Phase.CANARY
    assert decision.member.refused == ()


def test_a_replica_that_stays_silent_is_waited_for_no_longer_than_the_deadline() -> None:
    pool = in_a_long_canary()
    pool.routers[0].mute = True
    pool.run(3600, tick=60)
    pool.run(1800, tick=60)
    assert pool.table is not None
    assert [one.reason for one in pool.table.refused] == ["ProgressDeadlineExceeded"]


def test_replicas_that_are_silent_at_once_do_not_go_back_at_once() -> None:
    pool = PretendPool.serving("a", [PretendRouter(f"r{i}", roomy=False) for i in range(4)], policy())
    pool.routers[3].bad["b"] = "OutOfMemory"
    pool.ask("b")
    while pool.look().phase is not Phase.RETURNING:
        pool.run(1)
    assert pool.table is not None
    named = pool.table.rollout.named if pool.table.rollout else ()
    silent = [Heard(router.name, None, ready=True) for router in pool.routers]
    decision = next_member(pool.table, pool.asked, silent, pool.now)
    assert decision.member.rollout is not None
    assert set(named) - set(decision.member.rollout.named) == set()


def test_those_that_stay_silent_go_back_all_the_same() -> None:
    pool = PretendPool.serving("a", [PretendRouter(f"r{i}", roomy=False) for i in range(3)], policy())
    pool.ask("b")
    pool.run(5)
    for router in pool.routers:
        router.mute = True
    pool.ask("a")
    pool.run(5000, tick=50)
    assert pool.table is not None
    assert pool.table.rollout is None


def test_whoever_decides_next_and_hears_nobody_at_first_refuses_nothing() -> None:
    """As after an operator's outage that was longer than the deadline."""
    pool = PretendPool.serving("a", [PretendRouter(f"r{i}") for i in range(2)], policy())
    pool.ask("b")
    decision = pool.look()
    for _ in range(5):
        for router in pool.routers:
            router.step(decision.member, pool.seconds)
        pool.seconds += 1
    pool.seconds += 900
    pool.routers[0].mute = pool.routers[1].mute = True
    assert pool.look().member.refused == ()
    pool.routers[0].mute = pool.routers[1].mute = False
    assert pool.run(20).phase is Phase.REST
    assert pool.answers("b") == 2
