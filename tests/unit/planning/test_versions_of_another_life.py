"""Versions and generations where a SubModel was made anew, its routers are old ones, or pods come anew."""

from dataclasses import replace

from fastserve.api.meta import LoadProgress
from fastserve.api.routes import Refused
from fastserve.api.state import ModelState, RouterState
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Heard, Phase
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


def test_an_old_router_that_was_still_loading_is_not_waited_for_when_it_is_heard() -> None:
    """A router that knows no rollouts never loads a candidate, however long it is named for one."""
    served = pool()
    model = ModelState(name="world-aaaa", digest="a" * 64, version="a", load=LoadProgress(phase="Loading"))
    loading = RouterState(pool="news", instance="r0", ready=False, because="", model=model)
    served.ask("b")
    begun = next_member(served.table, served.asked, [Heard("r0", loading, ready=False)], START)
    assert begun.member.rollout is not None
    loaded = model.model_copy(update={"load": LoadProgress(phase="Loaded")})
    answers = loading.model_copy(update={"ready": True, "model": loaded})
    decision = next_member(begun.member, served.asked, [Heard("r0", answers, ready=True)], START)
    assert (decision.member.target.version, decision.member.rollout) == ("b", None)


def test_new_pods_that_hold_the_stable_version_do_not_end_a_pause() -> None:
    served = pool()
    served.ask("b", paused=True)
    served.asked = replace(served.asked, at_once=True)
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
    served.asked = replace(served.asked, wanted=wanted, at_once=True)
    decision = served.look()
    assert (decision.member.target.version, decision.member.rollout) == ("c", None)


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
