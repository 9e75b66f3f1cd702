"""Whom to ask: tables, and properties that hold for every pool."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.modelpool import Policy
from fastserve.router.selection import (
    FAR_BEHIND,
    Choice,
    Outcome,
    Prototypes,
    Rules,
    Standing,
    reason_of,
    select,
    softmax,
)

RULES = Rules(top_k=2, min_score=0.35, policy=Policy.SIMILARITY)
ABC = ("a", "b", "c")


def chosen(similarities: dict[str, float], ready: str = "abc", rules: Rules = RULES) -> tuple[str, list[str]]:
    choice = select(ABC, similarities, frozenset(ready), rules)
    return str(choice.outcome), list(choice.weights)


@pytest.mark.parametrize(
    ("similarities", "ready", "outcome", "names"),
    [
        ({"a": 0.60, "b": 0.58, "c": 0.57}, "abc", "Selected", ["a", "b"]),
        ({"a": 0.58, "b": 0.60, "c": 0.10}, "abc", "Selected", ["b", "a"]),
        ({"a": 0.90, "b": 0.50, "c": 0.40}, "abc", "Selected", ["a"]),
        ({"a": 0.60, "b": 0.44, "c": 0.10}, "abc", "Selected", ["a"]),
        ({"a": 0.60, "b": 0.58, "c": 0.57}, "ac", "Selected", ["a", "c"]),
        ({"a": 0.60, "b": 0.30, "c": 0.29}, "bc", "MemberUnavailable", []),
        ({"a": 0.60, "b": 0.50, "c": 0.10}, "b", "Selected", ["b"]),
        ({"a": 0.34, "b": 0.30, "c": 0.10}, "abc", "NoMatch", []),
        ({"a": 0.34, "b": 0.30, "c": 0.10}, "", "NoMemberReady", []),
        ({"a": 0.60, "b": 0.30, "c": 0.10}, "", "NoMemberReady", []),
        ({"b": 0.60}, "abc", "Selected", ["b"]),
        ({}, "abc", "NoMatch", []),
    ],
    ids=[
        "the nearest two",
        "in the order of nearness",
        "one alone where it is sure",
        "none that is far behind",
        "only those that are ready",
        "the nearest is down and the others are too far",
        "the nearest is down and another is near enough",
        "nobody is near enough",
        "nobody is near enough nor ready",
        "nobody is ready",
        "those without prototypes are never chosen",
        "nobody has prototypes",
    ],
)
def test_the_choice_is(similarities: dict[str, float], ready: str, outcome: str, names: list[str]) -> None:
    assert chosen(similarities, ready) == (outcome, names)


def test_uniform_weighs_all_alike_and_best_asks_one() -> None:
    near = {"a": 0.60, "b": 0.55, "c": 0.54}
    uniform = select(ABC, near, frozenset(ABC), Rules(3, 0.35, Policy.UNIFORM))
    best = select(ABC, near, frozenset(ABC), Rules(3, 0.35, Policy.BEST))

    assert list(uniform.weights.values()) == pytest.approx([1 / 3] * 3)
    assert best.weights == {"a": 1.0}


def test_the_weights_are_the_softmax_at_a_fifth() -> None:
    choice = select(ABC, {"a": 0.60, "b": 0.56}, frozenset(ABC), RULES)

    assert list(choice.weights.values()) == pytest.approx(softmax([0.60, 0.56], 0.2))


@pytest.mark.parametrize(("ready", "outcome"), [("ab", "Fallback"), ("a", "MemberUnavailable")])
def test_the_fallback_answers_what_nobody_is_near_to(ready: str, outcome: str) -> None:
    rules = Rules(2, 0.35, Policy.SIMILARITY, fallback="b")

    assert chosen({"a": 0.2, "c": 0.1}, ready, rules)[0] == outcome


def test_the_belief_counts_those_that_are_not_ready_so_that_confidence_is_honest() -> None:
    choice = select(ABC, {"a": 0.60, "b": 0.40}, frozenset("b"), RULES)

    assert choice.confidence == pytest.approx(softmax([0.60, 0.40], 0.04)[1])
    assert choice.confidence < 0.01


def reasons(similarities: dict[str, float], ready: str = "abc", rules: Rules = RULES) -> dict[str, str]:
    choice = select(ABC, similarities, frozenset(ready), rules)
    return {one.name: reason_of(one, choice, rules, {"c": "no file"}) for one in choice.standings}


@pytest.mark.parametrize(
    ("similarities", "ready", "rules", "words"),
    [
        (
            {"a": 0.60, "b": 0.58, "c": 0.57},
            "abc",
            RULES,
            (
                "the nearest that is ready: similarity 0.600",
                "is at least 0.05 of a's",
                "2 nearer ones are asked",
            ),
        ),
        (
            {"a": 0.60, "b": 0.44, "c": 0.10},
            "abc",
            RULES,
            ("the nearest", "is below 0.05 of a's", "0.100 is below minScore 0.35"),
        ),
        (
            {"a": 0.6, "b": 0.59},
            "bc",
            RULES,
            ("not ready", "the nearest that is ready: similarity 0.590", "no file"),
        ),
        (
            {"a": 0.9, "b": 0.8, "c": 0.2},
            "ab",
            Rules(2, 0.35, Policy.BEST),
            ("the nearest", "Best asks a", "not re"),
        ),
        ({"a": 0.99, "b": 0.83}, "abc", RULES, ("the nearest", "is below 0.05", "no file")),
        (
            {"a": 0.2},
            "ab",
            Rules(2, 0.35, Policy.SIMILARITY, "b"),
            ("below minScore", "the fallback", "not ready"),
        ),
    ],
)
def test_each_sub_model_has_a_reason_of_its_own(
    similarities: dict[str, float], ready: str, rules: Rules, words: tuple[str, str, str]
) -> None:
    said = reasons(similarities, ready, rules)

    for name, word in zip(ABC, words, strict=True):
        assert word in said[name]


def test_one_that_was_named_by_the_caller_says_so() -> None:
    named = Standing("a", None, 1.0, ready=True)
    choice = Choice(Outcome.SELECTED, {"a": 1.0}, (named,), 1.0, "a was named by the caller")

    assert reason_of(named, choice, RULES, {"a": "no file"}) == "a was named by the caller"


@pytest.mark.parametrize(
    ("margin", "top_k", "names", "word"),
    [
        (0.0, 1, ["a"], "a is nearest (0.600, belief 0.58), sleeps and is woken"),
        (0.0, 2, ["a", "b"], "sleeps and is woken"),
        (0.01, 1, ["a"], "sleeps and is woken"),
        (0.03, 1, ["b"], "b is nearest (0.580, belief 0.35); the policy"),
        (0.03, 1, ["b"], "; a (0.600) sleeps"),
        (0.03, 2, ["b", "c"], "; a (0.600) sleeps"),
    ],
)
def test_the_nearest_is_woken_unless_one_that_is_awake_is_near_enough(
    margin: float, top_k: int, names: list[str], word: str
) -> None:
    rules = Rules(top_k, 0.35, Policy.BEST if top_k == 1 else Policy.SIMILARITY, awake_margin=margin)
    choice = select(ABC, {"a": 0.60, "b": 0.58, "c": 0.51}, frozenset("bc"), rules, frozenset("a"))

    assert list(choice.weights) == names
    assert word in choice.because
    because = reason_of(choice.standings[0], choice, rules, {})
    assert ("asleep" in because) if "a" in names else ("b is awake" in because and "awakeMargin" in because)


def test_one_that_is_awake_and_below_the_least_score_is_not_asked_instead() -> None:
    rules = Rules(1, 0.35, Policy.BEST, awake_margin=0.1)
    choice = select(ABC, {"a": 0.36, "b": 0.34}, frozenset("b"), rules, frozenset("a"))

    assert list(choice.weights) == ["a"]


def test_a_pool_that_sleeps_answers_and_its_fallback_is_woken() -> None:
    asleep = frozenset(ABC)
    rules = Rules(1, 0.35, Policy.BEST, "c", 0.1)
    near = select(ABC, {"a": 0.60, "b": 0.58}, frozenset(), rules, asleep)
    far = select(ABC, {"a": 0.20, "b": 0.18}, frozenset(), rules, asleep)

    assert (near.outcome, list(near.weights)) == (Outcome.SELECTED, ["a"])
    assert (far.outcome, list(far.weights)) == (Outcome.FALLBACK, ["c"])


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), min_size=1),
    st.frozensets(st.sampled_from("abcdefgh")),
    st.frozensets(st.sampled_from("abcdefgh")),
    st.sampled_from([0.0, 0.05, 0.5]),
)
def test_no_sleeper_is_woken_where_one_that_is_awake_is_near_enough(
    similarities: dict[str, float], ready: frozenset[str], asleep: frozenset[str], margin: float
) -> None:
    rules = Rules(3, 0.35, Policy.SIMILARITY, awake_margin=margin)
    choice = select(tuple("abcdefgh"), similarities, ready, rules, asleep - ready)

    able = {name for name in ready | asleep if similarities.get(name, -1.0) >= 0.35}
    assert (choice.outcome is Outcome.SELECTED) == bool(able)
    assert set(choice.weights) <= able
    awake = max((similarities[name] for name in able & ready), default=-1.0)
    for name in choice.weights.keys() - ready:
        assert margin == 0.0 or awake < similarities[name] - margin


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), min_size=1),
    st.frozensets(st.sampled_from("abcdefgh")),
    st.integers(1, 16),
    st.sampled_from(list(Policy)),
)
def test_every_choice_keeps_the_rules(
    similarities: dict[str, float], ready: frozenset[str], top_k: int, policy: Policy
) -> None:
    rules = Rules(top_k, 0.35, policy)
    choice = select(tuple("abcdefgh"), similarities, ready, rules)
    standings = {one.name: one for one in choice.standings}

    assert (choice.outcome is Outcome.SELECTED) == bool(choice.weights)
    if choice.weights:
        assert sum(choice.weights.values()) == pytest.approx(1.0)
        assert len(choice.weights) <= top_k
        top = max(standings[name].belief for name in choice.weights)
        for name in choice.weights:
            assert name in ready
            assert similarities[name] >= 0.35
            assert standings[name].belief >= FAR_BEHIND * top
        able = {name: value for name, value in similarities.items() if name in ready}
        assert max(able.values()) == similarities[next(iter(choice.weights))]
    else:
        assert all(similarities.get(name, -1.0) < 0.35 for name in ready)


def test_similarity_is_that_of_the_nearest_prototype() -> None:
    draw = np.random.default_rng(3)
    rows = {name: draw.normal(size=(count, 8)).astype(np.float32) for name, count in zip("abc", (1, 5, 3))}  # noqa: B905
    vector = draw.normal(size=8).astype(np.float32)

    got = Prototypes.of(rows).similarities(vector)

    assert got == pytest.approx({name: float((part @ vector).max()) for name, part in rows.items()})
    assert Prototypes.of(rows).counts() == {"a": 1, "b": 5, "c": 3}
    assert Prototypes.of({}).similarities(vector) == {}
