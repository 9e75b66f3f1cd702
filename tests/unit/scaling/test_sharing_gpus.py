"""Scarce GPUs go where they help most."""

from hypothesis import given
from hypothesis import strategies as st

from fastserve.scaling.sharing import Claim, shared

claims = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(Claim, st.integers(0, 12), st.integers(0, 12), st.integers(0, 4), st.integers(1, 4)),
)


@given(claims, st.integers(0, 40))
def test_the_budget_holds_and_nobody_gets_more_than_asked(claims: dict[str, Claim], gpus: int) -> None:
    given_ = shared(claims, gpus)
    assert sum(given_[name] * claim.gpus for name, claim in claims.items()) <= gpus
    assert all(0 <= given_[name] <= claim.wanted for name, claim in claims.items())


@given(claims, st.integers(0, 40))
def test_nothing_is_left_that_somebody_could_use(claims: dict[str, Claim], gpus: int) -> None:
    given_ = shared(claims, gpus)
    left = gpus - sum(given_[name] * claim.gpus for name, claim in claims.items())
    assert all(given_[name] == claim.wanted or claim.gpus > left for name, claim in claims.items())


@given(claims)
def test_with_enough_everybody_gets_what_it_wants(claims: dict[str, Claim]) -> None:
    enough = sum(claim.wanted * claim.gpus for claim in claims.values())
    assert shared(claims, enough) == {name: claim.wanted for name, claim in claims.items()}


def test_the_least_come_first() -> None:
    given_ = shared({"a": Claim(8, 8), "b": Claim(2, 0, least=1)}, 4)
    assert given_["b"] >= 1


def test_one_that_runs_stays_where_both_want_as_much() -> None:
    assert shared({"a": Claim(3, 0), "b": Claim(3, 3)}, 3) == {"a": 0, "b": 3}
    assert shared({"a": Claim(3, 3), "b": Claim(3, 0)}, 3) == {"a": 3, "b": 0}


def test_one_more_goes_where_its_share_is_greater() -> None:
    assert shared({"small": Claim(2, 0), "large": Claim(10, 0)}, 2) == {"small": 2, "large": 0}
