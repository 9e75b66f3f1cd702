"""What holds for every exchange of versions, whatever routers do and whoever decides."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.routes import Member
from fastserve.api.versions import DEFINITE, RolloutPolicy
from fastserve.planning.versions.deciding import refusal_of
from fastserve.planning.versions.gate import ENOUGH_REQUESTS, Trial, gate_fault
from fastserve.planning.versions.words import Decision
from pretend_versions import PretendPool, PretendRouter, heard, policy, told

DEADLINE, DURATION = 40, 15
REASONS = [*sorted(DEFINITE), "LoadFailed", "SourceUnavailable", "TritonEnded"]

policies = st.builds(
    lambda share, away, kind: policy(
        type=kind,
        maxUnavailable=away,
        canary={"share": share, "durationSeconds": DURATION},
        progressDeadlineSeconds=DEADLINE,
    ),
    st.sampled_from(["0", "0.1", "0.5", "1"]),
    st.integers(1, 3),
    st.sampled_from(["HotSwap", "Recreate"]),
)


@st.composite
def badly(draw: st.DrawFn, number: int) -> PretendRouter:
    """A router that is slow, short of memory, silent, or cannot load some versions."""
    failing = draw(st.dictionaries(st.sampled_from("bc"), st.sampled_from(REASONS), max_size=2))
    return PretendRouter(
        f"r{number}",
        load_seconds=draw(st.sampled_from([1.0, 3.0, 20.0, 1e6])),
        roomy=draw(st.booleans()),
        mute=draw(st.booleans()) and draw(st.booleans()),
        bad=failing,
    )


routers = st.integers(1, 4).flatmap(lambda n: st.tuples(*(badly(number) for number in range(n))))
moves = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abc")),
        st.tuples(st.just("kill"), st.integers(0, 3)),
        st.tuples(st.just("vanish"), st.integers(0, 3)),
        st.tuples(st.just("mute"), st.integers(0, 3)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("lie"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 30)),
    ),
    min_size=1,
    max_size=12,
)


def carry_out(pool: PretendPool, what: str, detail: Any) -> None:
    """Something happens to the pool, and a little time passes."""
    router = pool.routers[detail % len(pool.routers)] if isinstance(detail, int) else pool.routers[0]
    if what == "ask":
        pool.ask(detail)
    elif what == "kill":
        router.dead_until = pool.seconds + 5
    elif what == "vanish":
        place = pool.routers.index(router)
        pool.routers[place] = PretendRouter(f"{router.name}-again", bad=router.bad)
    elif what == "mute":
        router.mute = not router.mute
    elif what == "lie":  # it says that it answers with a version that it never loaded
        router.loaded["b"] = 0
    elif what == "pause":
        rules = pool.asked.policy
        changed = rules.model_copy(update={"paused": not rules.paused})
        pool.ask(pool.asked.wanted.target.version, **changed.model_dump(by_alias=True))
    pool.run(detail if what == "wait" else 2)


def each(pool: PretendPool) -> list[tuple[Decision, Decision]]:
    """Decisions, each with the one before it."""
    decisions = [decision for _, decision in pool.history]
    return list(pairwise(decisions))


@settings(max_examples=60)
@given(routers, policies, moves)
def test_every_replica_ends_at_the_stable_version_or_the_asked_one(
    replicas: tuple[PretendRouter, ...], rules: RolloutPolicy, happens: list[tuple[str, Any]]
) -> None:
    pool = PretendPool.serving("a", replicas, rules)
    for what, detail in happens:
        carry_out(pool, what, detail)
    for router in pool.routers:  # from here on nothing new goes wrong
        router.mute, router.load_seconds, router.loading = False, 1.0, None
    pool.ask(pool.asked.wanted.target.version, **{**rules.model_dump(by_alias=True), "paused": False})
    pool.run((len(pool.routers) + 2) * (2 * DEADLINE + DURATION))
    assert pool.table is not None
    assert pool.table.rollout is None
    stable = pool.table.target
    for router in pool.routers:
        assert set(router.loaded) <= {stable.version} or stable.version in router.bad
        assert stable.version in router.loaded or stable.version in router.bad


@settings(max_examples=60)
@given(routers, policies, moves)
def test_no_more_exchange_at_once_than_may(
    replicas: tuple[PretendRouter, ...], rules: RolloutPolicy, happens: list[tuple[str, Any]]
) -> None:
    """A router is newly named only while fewer than may be are named and do not answer yet."""
    pool = PretendPool.serving("a", replicas, rules)
    for what, detail in happens:
        carry_out(pool, what, detail)
    for (one, other), heard_then in zip(each(pool), pool.heard_then[1:], strict=True):
        rollout = other.member.rollout
        if rollout is None or not _named(other.member) - _named(one.member):
            continue
        digest, named = rollout.candidate.digest, _named(other.member)
        waiting = [one for one in heard_then if one.instance in named and not one.answers(digest)]
        assert len(waiting) <= rules.max_unavailable


@settings(max_examples=60)
@given(routers, policies, moves)
def test_what_was_refused_is_not_named_again_at_the_same_generation(
    replicas: tuple[PretendRouter, ...], rules: RolloutPolicy, happens: list[tuple[str, Any]]
) -> None:
    pool = PretendPool.serving("a", replicas, rules)
    for what, detail in happens:
        carry_out(pool, what, detail)
    for one, other in each(pool):
        rollout = other.member.rollout
        if rollout is None or not refusal_of(other.member, rollout.candidate.digest):
            continue
        assert _named(other.member) <= _named(one.member)


@settings(max_examples=60)
@given(routers, policies, moves)
def test_the_same_observation_decides_the_same(
    replicas: tuple[PretendRouter, ...], rules: RolloutPolicy, happens: list[tuple[str, Any]]
) -> None:
    """Whoever decides a second time at the same moment changes nothing."""
    pool = PretendPool.serving("a", replicas, rules)
    for what, detail in happens:
        carry_out(pool, what, detail)
        first = pool.look().member
        # A step may let the next one follow at once; two of them and all is said.
        again = pool.look().member
        assert pool.look().member.model_dump_json() == again.model_dump_json()
        assert again.target == first.target or first.rollout is not None


@settings(max_examples=40)
@given(st.integers(1, 5), policies, st.sampled_from([1.0, 5.0, 20.0]))
def test_with_all_well_the_candidate_becomes_the_stable_version(
    count: int, rules: RolloutPolicy, load_seconds: float
) -> None:
    pool = PretendPool.serving(
        "a", [PretendRouter(f"r{number}", load_seconds=load_seconds) for number in range(count)], rules
    )
    pool.ask("b")
    pool.run(count * (load_seconds + 5) + DURATION + 30)
    assert pool.answers("b") == count
    assert pool.table is not None
    assert (pool.table.target.version, pool.table.rollout, pool.table.refused) == ("b", None, ())


@settings(max_examples=40)
@given(st.integers(1, 4), st.lists(st.sampled_from("bcd"), min_size=1, max_size=5), st.integers(0, 12))
def test_the_newest_version_wins(count: int, versions: list[str], between: int) -> None:
    pool = PretendPool.serving("a", [PretendRouter(f"r{number}") for number in range(count)], policy())
    for version in versions:
        pool.ask(version)
        pool.run(between)
    pool.run(60 + 20 * count)
    assert pool.answers(versions[-1]) == count


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 60), st.floats(0.3, 7))
def test_a_canary_is_never_shorter_than_asked(count: int, seconds: int, tick: float) -> None:
    rules = policy(canary={"share": "0.25", "durationSeconds": seconds})
    pool = PretendPool.serving("a", [PretendRouter(f"r{number}") for number in range(count)], rules)
    pool.ask("b")
    pool.run(seconds + 60 + 30 * count + 10 * tick, tick)
    began = next(at for at, one in pool.history if one.member.rollout and one.member.rollout.tried_since)
    ended = next(at for at, one in pool.history if one.member.rollout and one.member.rollout.share == "1")
    assert ended - began >= seconds


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(0, 40))
def test_a_pause_holds_whatever_happens(count: int, before: int) -> None:
    pool = PretendPool.serving("a", [PretendRouter(f"r{number}") for number in range(count)], policy())
    pool.ask("b")
    pool.run(before)
    pool.ask("b", paused=True)
    held = pool.look().member
    for router in pool.routers:
        router.dead_until = pool.seconds + 10
    pool.run(1000, 10.0)
    assert pool.table is not None
    assert (pool.table.target, pool.table.rollout) == (held.target, held.rollout)


counts = st.integers(0, 2000)
shares = st.sampled_from(["0", "0.01", "0.05", "0.5", "1"])


@given(counts, counts, shares)
def test_the_share_of_failures_decides(requests: int, failures: int, share: str) -> None:
    failures = min(requests, failures)
    one = heard("r0", told("b", requests=requests, failures=failures))
    rules = policy(gate={"maxFailureShare": share}).gate
    fault = gate_fault(rules, Trial("b" * 64, "a" * 64, [one], [one]))
    over = failures > float(share) * max(requests, ENOUGH_REQUESTS)
    assert (fault is not None) == over


@given(st.floats(0.0001, 5), st.floats(0.0001, 5), st.sampled_from(["1", "1.5", "2", "10"]), counts, counts)
def test_the_ratio_of_medians_decides_once_both_mean_something(
    took: float, before: float, ratio: str, new: int, old: int
) -> None:
    one = heard(
        "r0",
        told("b", requests=new, inference_p50_seconds=took),
        told("a", requests=old, inference_p50_seconds=before),
    )
    rules = policy(gate={"maxLatencyRatio": ratio}).gate
    fault = gate_fault(rules, Trial("b" * 64, "a" * 64, [one], [one]))
    enough = min(new, old) >= ENOUGH_REQUESTS
    assert (fault is not None) == (enough and took > float(ratio) * before)


@given(st.one_of(st.none(), st.floats(0, 1)), shares)
def test_agreement_decides_where_it_was_measured(agreement: float | None, least: str) -> None:
    one = heard("r0", told("b", agreement=agreement))
    rules = policy(gate={"minAgreement": least}).gate
    fault = gate_fault(rules, Trial("b" * 64, "a" * 64, [one], [one]))
    assert (fault is not None) == (agreement is not None and agreement < float(least))


def _named(member: Member) -> set[str]:
    return set(member.rollout.named) if member.rollout else set()
