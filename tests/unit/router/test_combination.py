"""One answer from many: known values, and properties that hold for any answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.modelpool import Method
from fastserve.router.combination import Arrived, combine

CLASSES = (Method.WEIGHTED_SUM, Method.LOG_POOL, Method.VOTE, Method.BEST)


def said(name: str, weight: float, **scores: float) -> Arrived:
    return Arrived(name, weight, tuple(scores), np.array(list(scores.values()), np.float32))


YES = said("a", 0.6, yes=0.9, no=0.1)
NO = said("b", 0.3, yes=0.2, no=0.8)
MAYBE = said("c", 0.1, maybe=0.7, no=0.3)
POOLED = np.exp(
    np.array([0.6 * np.log(0.9) + 0.3 * np.log(0.2), 0.6 * np.log(0.1) + 0.3 * np.log(0.8)]) / 0.9
)


@pytest.mark.parametrize(
    ("method", "answers", "expected"),
    [
        (Method.WEIGHTED_SUM, (YES,), {"yes": 0.9, "no": 0.1}),
        (Method.WEIGHTED_SUM, (YES, NO), {"yes": (0.54 + 0.06) / 0.9, "no": (0.06 + 0.24) / 0.9}),
        (Method.WEIGHTED_SUM, (YES, NO, MAYBE), {"maybe": 0.07, "no": 0.33, "yes": 0.60}),
        (Method.LOG_POOL, (YES, NO), dict(zip(("yes", "no"), POOLED / POOLED.sum(), strict=True))),
        (Method.VOTE, (YES, NO, MAYBE), {"maybe": 0.1, "no": 0.3, "yes": 0.6}),
        (Method.BEST, (YES, NO, MAYBE), {"maybe": 0.0, "no": 0.1, "yes": 0.9}),
    ],
)
def test_the_combination_is(method: Method, answers: tuple[Arrived, ...], expected: dict) -> None:
    combined = combine(method, answers)

    assert dict(zip(combined.labels, combined.scores, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_what_did_not_arrive_is_missing_in_the_coverage_and_the_rest_is_renormalised() -> None:
    combined = combine(Method.WEIGHTED_SUM, (NO, MAYBE))

    assert combined.coverage == pytest.approx(0.4)
    assert combined.weights == pytest.approx({"b": 0.75, "c": 0.25})


def test_vectors_are_mixed_and_brought_to_unit_length() -> None:
    one = Arrived("a", 0.5, (), np.array([1, 0], np.float32))
    other = Arrived("b", 0.5, (), np.array([0, 1], np.float32))

    combined = combine(Method.WEIGHTED_MEAN, (one, other))

    assert combined.labels == ()
    assert combined.scores.tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


def test_a_label_that_one_of_two_does_not_know_is_not_vetoed_by_the_log_pool() -> None:
    combined = combine(Method.LOG_POOL, (YES, MAYBE))

    assert combined.scores.min() > 0.0
    assert combined.labels[int(combined.scores.argmax())] == "yes"


@st.composite
def answers(draw: st.DrawFn) -> list[Arrived]:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    found = []
    for name in names:
        labels = draw(st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=6, unique=True))
        raw = draw(st.lists(st.floats(0.125, 1, width=32), min_size=len(labels), max_size=len(labels)))
        scores = np.array(raw, np.float32) / np.float32(sum(raw))
        found.append(Arrived(name, draw(st.floats(0.05, 1)) / 5, tuple(labels), scores))
    return found


@given(answers(), st.sampled_from(CLASSES), st.randoms())
def test_any_answers_become_a_distribution_whatever_their_order(
    found: list[Arrived], method: Method, dice
) -> None:
    combined = combine(method, found)
    shuffled = list(found)
    dice.shuffle(shuffled)
    again = combine(method, shuffled)

    assert combined.scores.sum() == pytest.approx(1.0, abs=1e-5)
    assert (combined.scores >= 0).all()
    assert set(combined.labels) == {label for one in found for label in one.labels}
    assert sum(combined.weights.values()) == pytest.approx(1.0)
    assert again.labels == combined.labels
    assert np.array_equal(again.scores, combined.scores)
