"""When a Triton is started anew: where nothing else brings it back, and never where something may."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.pulse import SHORTEST_SECONDS
from fastserve.router.reviving import (
    DEAD_SECONDS,
    ENGINE_SECONDS,
    LOADING_SECONDS,
    SHORTEST_PAUSE_SECONDS,
    UNLOADING_SECONDS,
    UNSERVED_SECONDS,
    Look,
    Reason,
    Signs,
    Silence,
    Stall,
    Word,
    mourned,
    must_restart,
    silence_of,
    stall_of,
)

STATES = ("READY", "LOADING", "UNLOADING")
words = st.dictionaries(
    st.sampled_from(("a", "b", "c")), st.tuples(st.sampled_from(STATES), st.sampled_from(list(Word)))
)
seconds = st.floats(0, 100, allow_nan=False)
FROZEN = Signs(silence=Silence(0.0, 2, served=True))


def test_a_server_that_served_is_frozen_after_a_second_without_an_answer() -> None:
    assert must_restart(FROZEN, 1.0) is Reason.FROZEN
    assert must_restart(FROZEN, 0.9) is None


def look(began: float, **changes: Any) -> Look:
    """One that was not answered in time."""
    return replace(Look(began, SHORTEST_SECONDS + 0.01, live=False, answered=False, served=True), **changes)


def test_two_looks_in_a_row_without_an_answer_are_a_silence_from_the_first_one_on() -> None:
    silence = silence_of(silence_of(None, look(7.0)), look(7.6, served=False))
    assert silence == Silence(7.0, 2, served=True)


@pytest.mark.parametrize(
    "changes",
    [{"live": True}, {"answered": True}, {"seconds": SHORTEST_SECONDS + 0.2}],
    ids=["it is live", "an inference was answered", "this process stood still"],
)
def test_a_look_that_proves_nothing_ends_the_row(changes: dict[str, Any]) -> None:
    assert silence_of(Silence(7.0, 1, served=True), look(7.6, **changes)) is None


def test_a_server_whose_replica_was_not_ready_when_the_silence_began_is_given_longer() -> None:
    silence = silence_of(silence_of(None, look(7.0, served=False)), look(7.6))
    assert must_restart(Signs(silence=silence), 9.0) is None


def test_one_look_without_an_answer_is_not_enough_however_long_ago_it_was() -> None:
    assert must_restart(Signs(silence=Silence(0.0, 1, served=True)), 60.0) is None


def test_one_of_which_nothing_served_yet_is_given_longer() -> None:
    starting = Signs(silence=Silence(0.0, 5, served=False))
    assert must_restart(starting, UNSERVED_SECONDS - 0.1) is None
    assert must_restart(starting, UNSERVED_SECONDS) is Reason.FROZEN


def test_an_engine_that_listens_and_says_nothing_is_not_waited_for() -> None:
    for state in ("READY", "UNLOADING"):
        stalled = Signs(stall=Stall(0.0, state, Word.NOTHING))
        assert must_restart(stalled, ENGINE_SECONDS) is Reason.STUCK
        assert must_restart(stalled, ENGINE_SECONDS - 0.1) is None


def test_an_engine_that_is_being_loaded_and_says_nothing_is_given_longer() -> None:
    loading = Signs(stall=Stall(0.0, "LOADING", Word.NOTHING))
    assert must_restart(loading, LOADING_SECONDS - 0.1) is None
    assert must_restart(loading, LOADING_SECONDS) is Reason.STUCK


def test_an_unload_of_which_nobody_tells_is_given_longest_and_a_dead_engine_is_left_to_unload_and_load() -> (
    None
):
    assert must_restart(Signs(stall=Stall(0.0, "UNLOADING", Word.NOBODY)), UNLOADING_SECONDS) is Reason.STUCK
    for state in ("READY", "LOADING"):
        assert stall_of(None, {"m": (state, Word.NOBODY)}, 0.0) is None


def test_triton_is_not_waited_for_where_it_unloads_an_engine_that_had_died() -> None:
    first = mourned({"m": ("READY", Word.NOBODY)}, frozenset())
    assert stall_of(None, first, 0.0) is None
    second = stall_of(None, mourned({"m": ("UNLOADING", Word.NOBODY)}, frozenset(("m",))), 1.0)
    assert second == Stall(1.0, "UNLOADING", Word.DEAD)
    assert must_restart(Signs(stall=second), 1.0 + DEAD_SECONDS) is Reason.STUCK
    assert must_restart(Signs(stall=second), 0.9 + DEAD_SECONDS) is None


def test_an_engine_that_ends_because_it_is_unloaded_had_not_died() -> None:
    seen = mourned({"m": ("UNLOADING", Word.NOBODY)}, frozenset())
    assert seen == {"m": ("UNLOADING", Word.NOBODY)}


def test_a_model_of_the_users_own_is_not_taken_for_dead_because_it_has_no_engine() -> None:
    assert mourned({"m": ("READY", Word.NONE)}, frozenset()) == {"m": ("READY", Word.NONE)}
    stalled = Signs(stall=stall_of(None, {"m": ("UNLOADING", Word.NONE)}, 0.0))
    assert must_restart(stalled, UNLOADING_SECONDS - 0.1) is None
    assert must_restart(stalled, UNLOADING_SECONDS) is Reason.STUCK


def test_a_model_of_the_users_own_that_triton_called_dead_is_not_waited_for() -> None:
    dead = frozenset(("m",))
    assert stall_of(None, mourned({"m": ("READY", Word.NONE)}, dead), 0.0) is None
    stalled = Signs(stall=stall_of(None, mourned({"m": ("UNLOADING", Word.NONE)}, dead), 1.0))
    assert must_restart(stalled, 0.9 + DEAD_SECONDS) is None
    assert must_restart(stalled, 1.0 + DEAD_SECONDS) is Reason.STUCK


@given(words, seconds)
def test_a_load_that_goes_on_by_its_own_report_is_never_cut_short(
    seen: dict[str, tuple[str, Word]], now: float
) -> None:
    seen["coming"] = ("LOADING", Word.REPORT)
    assert stall_of(Stall(0.0, "UNLOADING", Word.NOTHING), seen, now) is None


@given(words, seconds)
def test_where_every_engine_tells_of_itself_there_is_no_stall(
    seen: dict[str, tuple[str, Word]], now: float
) -> None:
    well = {name: (state, Word.REPORT) for name, (state, _) in seen.items()}
    assert stall_of(Stall(0.0, "READY", Word.NOTHING), well, now) is None


def test_a_stall_goes_on_when_triton_takes_the_frozen_engine_from_ready_to_unloading() -> None:
    first = stall_of(None, {"m": ("READY", Word.NOTHING)}, 5.0)
    second = stall_of(first, {"m": ("UNLOADING", Word.NOTHING)}, 6.0)
    assert second == Stall(5.0, "UNLOADING", Word.NOTHING)
    assert stall_of(second, {"m": ("UNLOADING", Word.NOBODY)}, 7.0) == Stall(7.0, "UNLOADING", Word.NOBODY)


@given(st.lists(seconds, min_size=2, max_size=50), st.floats(0, 40))
def test_restarts_are_never_nearer_than_ten_seconds_or_what_the_last_recovery_took(
    times: list[float], recovery: float
) -> None:
    restarts: list[float] = []
    for now in sorted(times):
        last = restarts[-1] if restarts else None
        signs = Signs(Silence(now - 50, 9, served=True), None, last, recovery)
        if must_restart(signs, now) is not None:
            restarts.append(now)
    gaps = [b - a for a, b in itertools.pairwise(restarts)]
    assert all(gap >= max(SHORTEST_PAUSE_SECONDS, recovery) for gap in gaps)
    assert restarts[0] == min(times)


def test_without_a_sign_nothing_is_done() -> None:
    assert must_restart(Signs(), 1e9) is None
