"""Versions and generations where a SubModel was made anew, or pods come anew."""

from dataclasses import replace

from fastserve.api.routes import Refused
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Phase
from pretend_versions import START, PretendPool, PretendRouter, heard, member, policy, told

PLAIN = policy()


def pool(count: int = 1) -> PretendPool:
    return PretendPool.serving("a", [PretendRouter(f"r{i}") for i in range(count)], PLAIN)


def made_anew(served: PretendPool) -> None:
    """The same spec, of a SubModel whose generations begin again."""
    wanted = served.asked.wanted.model_copy(update={"generation": 1})
    served.asked = replace(served.asked, wanted=wanted)


def test_a_bad_version_of_a_sub_model_that_was_made_anew_is_refused_once() -> None:
    served = pool()
    served.ask("c")
    served.run(20)
    served.routers[0].bad["b"] = "DigestMismatch"
    served.ask("b")
    served.run(20)
    made_anew(served)
    served.run(20)
    before = served.look().member
    served.run(50)
    assert served.look().phase is Phase.REFUSED
    assert served.table == before


def test_a_sub_model_that_is_made_anew_in_a_rollout_ends_it() -> None:
    served = pool()
    served.ask("c")
    served.run(20)
    served.routers[0].bad["b"] = "DigestMismatch"
    served.ask("b")
    served.run(1)
    made_anew(served)
    assert served.run(30).phase is Phase.REFUSED
    before = served.look().member
    served.run(50)
    assert served.table == before


def test_new_pods_that_hold_the_stable_version_do_not_end_a_pause() -> None:
    served = pool()
    served.ask("b", paused=True)
    served.asked = replace(served.asked, new_pods=True)
    decision = served.look()
    assert decision.phase is Phase.PAUSED
    assert decision.member.target.version == "a"


def test_new_pods_that_cannot_hold_the_stable_version_take_the_new_one_although_paused() -> None:
    served = pool()
    served.ask("b")
    served.run(1)
    served.ask("c", paused=True)
    wanted = served.asked.wanted
    engine = wanted.target.engine.model_copy(update={"devices": ("cuda:0", "cuda:1")})
    wanted = wanted.model_copy(update={"target": wanted.target.model_copy(update={"engine": engine})})
    served.asked = replace(served.asked, wanted=wanted, new_pods=True)
    decision = served.look()
    assert decision.member.target.version == "c"


def test_a_member_of_an_older_table_is_brought_up_to_date_once() -> None:
    new = {"rollout", "proved", "refused", "generation", "asked"}
    before = type(member("a")).model_validate_json(member("a").model_dump_json(exclude=new))
    served = pool()
    first = next_member(before, served.asked, [heard("r0", told("a"))], START).member
    assert next_member(first, served.asked, [heard("r0", told("a"))], START).member == first


def test_the_memory_of_what_was_refused_stays_small() -> None:
    served = pool()
    assert served.table is not None
    long = Refused(digest="d" * 64, generation=1, reason="NotFound", message="x" * 1024, time="2026-11-21")
    served.table = served.table.model_copy(update={"refused": (long,)})
    served.routers[0].bad["b"] = "DigestMismatch"
    served.ask("b")
    served.run(20)
    assert [len(one.message) < 200 for one in served.table.refused] == [True, True]
