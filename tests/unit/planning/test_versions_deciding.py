"""One decision after the other: how a version takes another one's place."""

from dataclasses import replace

import pytest

from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Asked, Phase
from pretend_versions import START, PretendPool, PretendRouter, failed, heard, member, policy, told

PLAIN = policy()
CANARY = policy(canary={"share": "0.1", "durationSeconds": 30})


def routers(count: int) -> list[PretendRouter]:
    return [PretendRouter(f"r{number}") for number in range(count)]


def pool(count: int = 3, rules: object = PLAIN) -> PretendPool:
    return PretendPool.serving("a", routers(count), rules)  # type: ignore[arg-type]


def test_a_new_member_has_its_version_at_once() -> None:
    decision = next_member(None, Asked(member("a"), PLAIN, 1), (), START)
    assert decision.member == member("a").model_copy(update={"generation": 0, "asked": ""})


def test_what_never_answered_is_exchanged_at_once() -> None:
    silent = [heard("r0", failed("a", 0), ready=False)]
    decision = next_member(member("a"), Asked(member("b", 2), PLAIN, 1), silent, START)
    assert decision.member.target.version == "b"
    assert decision.member.rollout is None


def test_replicas_are_exchanged_one_after_the_other() -> None:
    served = pool()
    served.ask("b")
    served.run(30)
    assert served.answers("b") == 3
    assert served.table is not None
    assert (served.table.target.version, served.table.rollout) == ("b", None)
    named = [len(one.member.rollout.named) for _, one in served.history if one.member.rollout]
    assert named == sorted(named)
    assert max(named) == 3


def test_what_was_stable_everywhere_is_remembered() -> None:
    served = pool()
    served.ask("b")
    served.run(30)
    assert served.table is not None
    assert served.table.proved == ("a" * 64, "b" * 64)


def test_at_rest_nothing_changes() -> None:
    served = pool()
    before = served.look().member.model_dump_json()
    served.seconds += 86400
    assert served.look().member.model_dump_json() == before


def test_while_a_replica_loads_nothing_changes() -> None:
    served = pool()
    served.ask("b")
    before = served.look().member.model_dump_json()
    served.seconds += 100
    assert served.look().member.model_dump_json() == before


def test_a_version_that_cannot_be_loaded_is_refused_and_the_old_one_stays() -> None:
    served = pool()
    served.routers[0].bad["b"] = "DigestMismatch"
    served.ask("b")
    decision = served.run(20)
    assert decision.phase is Phase.REFUSED
    assert decision.member.refused[0].reason == "DigestMismatch"
    assert served.answers("a") == 3


def test_an_unknown_failure_counts_the_second_time() -> None:
    before = pool(1)
    before.ask("b")
    begun = before.look().member
    once = [heard("r0", told("a"), failed("b", 2, "LoadFailed", failed_loads=1))]
    twice = [heard("r0", told("a"), failed("b", 2, "LoadFailed", failed_loads=2))]
    assert next_member(begun, before.asked, once, START).phase is Phase.HOT_SWAP
    assert next_member(begun, before.asked, twice, START).phase is Phase.REFUSED


def test_a_failure_of_an_earlier_rollout_says_nothing_on_this_one() -> None:
    served = pool(1)
    served.routers[0].bad["b"] = "DigestMismatch"
    served.ask("b")
    served.run(10)
    served.routers[0].bad.clear()
    served.ask("b")
    assert served.run(20).phase is Phase.REST
    assert served.answers("b") == 1
    assert served.table is not None
    assert served.table.refused == ()


def test_a_refused_version_is_not_tried_again_because_replicas_changed() -> None:
    served = pool(1)
    served.routers[0].bad["b"] = "DigestMismatch"
    served.ask("b")
    served.run(10)
    scaled = served.asked.wanted.model_copy(update={"generation": 9})
    served.asked = replace(served.asked, wanted=scaled)
    assert served.run(10).phase is Phase.REFUSED


def test_a_failure_that_may_pass_is_waited_for_until_the_deadline() -> None:
    served = pool(1, policy(progressDeadlineSeconds=60))
    served.routers[0].bad["b"] = "SourceUnavailable"
    served.ask("b")
    assert served.run(55).phase is Phase.HOT_SWAP
    decision = served.run(10)
    assert decision.member.refused[0].reason == "ProgressDeadlineExceeded"
    assert "SourceUnavailable" in decision.member.refused[0].message


def test_the_canary_lasts_as_long_as_was_asked() -> None:
    served = pool(2, CANARY)
    served.ask("b")
    served.run(100)
    shares = [
        (at, one.member.rollout.share)
        for at, one in served.history
        if one.member.rollout and one.member.rollout.named
    ]
    tried = [at for at, one in served.history if one.member.rollout and one.member.rollout.tried_since]
    assert max(tried) - min(tried) >= 30 - 1
    assert next(at for at, share in shares if share == "1") - min(tried) >= 30
    assert served.answers("b") == 2


def test_a_canary_that_is_lost_begins_again() -> None:
    served = pool(1, CANARY)
    served.ask("b")
    served.run(20)
    served.routers[0].dead_until = served.seconds + 5
    served.run(20)
    assert served.table is not None
    assert served.table.rollout is not None
    assert (served.table.rollout.share, served.table.rollout.trials) == ("0.1", 2)
    served.run(60)
    assert served.answers("b") == 1


def test_a_canary_that_is_lost_again_and_again_is_refused() -> None:
    served = pool(1, policy(canary={"share": "0.5", "durationSeconds": 100}))
    served.ask("b")
    for _ in range(6):
        served.run(10)
        served.routers[0].dead_until = served.seconds + 1
        served.run(3)
    assert served.run(20).member.refused[0].reason == "CandidateLost"


@pytest.mark.parametrize("share", ["0", "1", "1.0"])
def test_a_share_of_nothing_or_all_is_no_canary(share: str) -> None:
    served = pool(1, policy(canary={"share": share}))
    served.ask("b")
    assert served.look().member.rollout is not None
    assert served.look().phase is Phase.HOT_SWAP


def test_writing_the_old_version_again_gives_the_rollout_up() -> None:
    served = pool(3)
    served.ask("b")
    served.run(6)
    served.ask("a")
    decision = served.run(30)
    assert (decision.phase, decision.member.rollout) == (Phase.REST, None)
    assert served.answers("a") == 3
    assert served.table is not None
    assert served.table.refused == ()


def test_the_newest_version_wins() -> None:
    served = pool(3)
    served.ask("b")
    served.run(6)
    served.ask("c")
    served.run(60)
    assert served.answers("c") == 3
    assert served.table is not None
    assert served.table.proved == ("a" * 64, "c" * 64)


def test_replicas_go_back_a_few_at_a_time() -> None:
    served = PretendPool.serving("a", [PretendRouter(f"r{i}", roomy=False) for i in range(4)], PLAIN)
    served.routers[3].bad["b"] = "OutOfMemory"
    served.ask("b")
    served.run(120)
    assert served.answers("a") == 4
    returning = [one for _, one in served.history if one.phase is Phase.RETURNING]
    assert {len(one.member.rollout.named) for one in returning if one.member.rollout} == {1, 2, 3}


def test_paused_means_that_nothing_moves() -> None:
    served = pool(3, CANARY)
    served.ask("b")
    served.run(10)
    served.ask("b", canary={"share": "0.1", "durationSeconds": 30}, paused=True)
    first = served.look().member
    served.run(500)
    assert served.table == first
    assert served.look().phase is Phase.PAUSED


def test_a_pause_does_not_count_against_the_deadline() -> None:
    served = pool(1, policy(progressDeadlineSeconds=60))
    served.routers[0].load_seconds = 30
    served.ask("b")
    served.run(20)
    served.ask("b", progressDeadlineSeconds=60, paused=True)
    served.run(500)
    served.ask("b", progressDeadlineSeconds=60)
    assert served.look().phase is Phase.HOT_SWAP
    served.run(40)
    assert served.answers("b") == 1


def test_a_version_that_is_asked_for_while_paused_waits() -> None:
    served = pool(1)
    served.ask("b", paused=True)
    assert served.run(20).phase is Phase.PAUSED
    assert served.answers("a") == 1


def test_where_nobody_runs_versions_are_exchanged_at_once() -> None:
    served = pool(1)
    served.routers = []
    served.ask("b")
    served.asked = replace(served.asked, replicas=0)
    assert served.look().member.target.version == "b"


def test_where_pods_are_only_not_there_yet_the_version_that_is_known_to_be_good_stays() -> None:
    served = pool(1)
    served.run(3)
    served.routers = []
    served.ask("b")
    served.asked = replace(served.asked, replicas=1)
    decision = served.look()
    assert (decision.phase, decision.member.target.version) == (Phase.WAITING, "a")


def test_a_rollout_that_began_is_not_cut_short_by_new_pods() -> None:
    served = pool(2, CANARY)
    served.ask("b")
    served.look()
    served.asked = replace(served.asked, new_pods=True)
    assert served.look().phase is Phase.CANARY


def test_an_edit_that_routers_need_not_know_of_changes_nothing_for_them() -> None:
    asked, replicas = Asked(member("a", 1), PLAIN, 1), [heard("r0", told("a"))]
    made = next_member(None, asked, (), START).member
    before = next_member(made, asked, replicas, START).member
    assert next_member(before, Asked(member("a", 7), PLAIN, 1), replicas, START).member == before


def test_a_replica_that_left_is_no_longer_named() -> None:
    served = pool(2)
    served.ask("b")
    served.run(2)
    assert served.table is not None
    assert served.table.rollout is not None
    gone = served.table.rollout.named[0]
    served.routers = [one for one in served.routers if one.name != gone]
    decision = served.look()
    assert decision.member.rollout is not None
    assert gone not in decision.member.rollout.named


def test_a_pod_of_which_nobody_heard_holds_nothing_up() -> None:
    served = pool(2)
    served.ask("b")
    served.routers.append(PretendRouter("pending", dead_until=1e9))
    assert served.run(30).phase is Phase.REST
    assert served.answers("b") == 2


def test_new_threads_for_the_same_version_are_no_rollout() -> None:
    served = pool(1)
    engine = served.asked.wanted.target.engine.model_copy(update={"threads_per_rank": 7})
    moved = served.asked.wanted.target.model_copy(update={"engine": engine})
    served.asked = replace(served.asked, wanted=served.asked.wanted.model_copy(update={"target": moved}))
    decision = served.look()
    assert decision.member.target.engine.threads_per_rank == 7
    assert decision.phase is Phase.REST
