"""What judges the chaos bench must see each kind of loss, or the bench proves nothing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chaos.model import VERSIONS, mark, version_told
from chaos.records import NO_VERSION, Generated, Sent
from chaos.scoring import (
    Death,
    Illness,
    Row,
    Swap,
    Trial,
    Whole,
    death_trials,
    illness_trials,
    lost_before,
    p99,
    p99_ratio,
    row,
    swap_trials,
)

A, B, NEIGHBOUR = 0, 1, 7
SWAP = Swap(10.0, 12.0, A, B, B, frozenset({A, B}))
NOBODY: frozenset[int] = frozenset()


def sent(at: float, version: int, seconds: float = 0.01, status: int = 200) -> Sent:
    return Sent(at, at, at + seconds, status, version)


def steady(begin: float, end: float, version: int) -> list[Sent]:
    """Ten requests a second, all answered by one version."""
    return [sent(begin + step / 10, version) for step in range(round(10 * (end - begin)))]


GOOD = (*steady(8, 11, A), *steady(11, 20, B))
"""The new version takes over a second after it was asked for."""


def judged(records: Sequence[Sent], swap: Swap = SWAP, others: frozenset[int] = NOBODY) -> tuple[str, ...]:
    (trial,) = swap_trials(sorted(records, key=lambda one: one.due), [swap], others)
    return trial.short


def test_an_exchange_in_which_each_request_is_answered_passes() -> None:
    assert judged(GOOD) == ()


@pytest.mark.parametrize("lost", [sent(11.5, NO_VERSION, status=503), sent(11.5, NO_VERSION, status=0)])
def test_a_request_that_is_refused_or_cut_off_is_lost(lost: Sent) -> None:
    assert judged([*GOOD, lost]) == ("lost",)


def test_an_answer_with_wrong_numbers_is_lost() -> None:
    assert judged([*GOOD, sent(11.5, NO_VERSION)]) == ("lost",)


def test_the_old_version_after_the_new_one_was_heard_is_wrong() -> None:
    assert judged([*GOOD, sent(11.5, A)]) == ("wrong version",)
    assert judged([*GOOD, sent(11.5, A)], replace(SWAP, orderly=False)) == ()


def test_a_request_that_was_under_way_at_the_flip_may_get_the_old_version() -> None:
    assert judged([*GOOD, sent(10.9, A, seconds=0.5)]) == ()


def test_the_old_version_after_the_end_is_wrong_however_it_was_exchanged() -> None:
    assert judged([*GOOD, sent(15.0, A)], replace(SWAP, orderly=False)) == ("wrong version",)


def test_a_version_that_was_never_to_answer_is_wrong() -> None:
    refused = Swap(10.0, 12.0, A, A, None, frozenset({A}))
    assert judged(steady(8, 20, A), refused) == ()
    assert judged([*steady(8, 20, A), sent(11.0, B)], refused) == ("wrong version",)


def test_only_who_may_stand_in_answers_for_the_exchanged_one() -> None:
    assert judged([*GOOD, sent(11.0, NEIGHBOUR)]) == ("wrong version",)
    assert judged([*GOOD, sent(11.0, NEIGHBOUR)], others=frozenset({NEIGHBOUR})) == ()


def test_a_second_without_answers_is_a_stall() -> None:
    assert judged([one for one in GOOD if not 13.0 <= one.due < 14.5]) == ("stalled",)


def test_an_exchange_that_ends_in_nothing_is_told() -> None:
    assert "neither version" in judged(GOOD, replace(SWAP, after=None))


def test_an_exchange_that_never_came_about_is_told() -> None:
    assert judged(steady(8, 20, A), replace(SWAP, after=A)) == ("not exchanged",)


def test_what_is_lost_before_the_first_fault_is_told() -> None:
    records = [sent(8.5, NO_VERSION, status=503), *GOOD]
    assert lost_before(records, SWAP.asked) == ("lost before",)
    assert lost_before(GOOD, SWAP.asked) == ()


def test_a_version_that_cannot_be_is_to_be_refused_in_time() -> None:
    assert judged(GOOD, replace(SWAP, told=False)) == ("not refused",)


def test_requests_belong_to_the_exchange_they_were_due_in() -> None:
    swaps = [SWAP, Swap(20.0, 22.0, B, A, A, frozenset({A, B}))]
    records = [*GOOD, *steady(20, 21, B), sent(20.5, NO_VERSION, status=503), *steady(21, 25, A)]
    first, second = swap_trials(sorted(records, key=lambda one: one.due), swaps, NOBODY)
    assert (first.short, second.short) == ((), ("lost",))


def test_p99_counts_from_the_intended_start() -> None:
    late = [Sent(one.due, one.sent + 5.0, one.ended + 5.0, 200, A) for one in steady(0, 10, A)]
    assert p99(late) == pytest.approx(5.01)


def test_slowness_while_versions_are_exchanged_shows_in_the_ratio() -> None:
    slow = [replace_seconds(one, 0.03 if 10 <= one.due < 12 else 0.01) for one in GOOD]
    assert p99_ratio(slow, [SWAP]) == pytest.approx(3.0)
    assert p99_ratio(GOOD, [SWAP]) == pytest.approx(1.0)


def replace_seconds(one: Sent, seconds: float) -> Sent:
    return Sent(one.due, one.sent, one.sent + seconds, one.status, one.version)


DEATH = Death(10.0, 10.5, 12.0, A, (1.0, 1.0))


def death(records: Sequence[Sent], what: Death = DEATH) -> Trial:
    (trial,) = death_trials(sorted(records, key=lambda one: one.due), [what], frozenset({NEIGHBOUR}))
    return trial


def test_as_many_may_fail_as_were_in_flight() -> None:
    in_flight = sent(9.99, NO_VERSION, seconds=0.1, status=503)
    records = [*steady(8, 10, A), in_flight, *steady(12, 20, A)]
    assert death(records).short == ()
    assert death([*records, sent(10.2, NO_VERSION, status=503)]).short == ("lost",)
    answered = [sent(9.99 + 1e-4 * n, A, seconds=0.1) for n in range(3)]
    assert death([*records, *answered, sent(10.2, NO_VERSION, status=503)]).short == ("lost",)


def test_a_version_that_should_not_be_there_is_wrong_after_a_death() -> None:
    assert death([*steady(8, 10, A), sent(11.0, B), *steady(12, 20, A)]).short == ("wrong version",)


def test_recovery_is_when_its_own_version_answers_again_and_not_its_neighbour() -> None:
    records = [*steady(8, 10, A), *steady(10, 13, NEIGHBOUR), *steady(13, 20, A)]
    assert death(records).figures["recover s"] == pytest.approx(3.01)
    assert death([*steady(8, 10, A), *steady(10, 20, NEIGHBOUR)]).short == ("recovered late",)


def test_a_death_that_is_seen_late_or_never_is_told() -> None:
    records = [*steady(8, 10, A), *steady(12, 20, A)]
    assert death(records, replace(DEATH, seen=12.5, again=13.0)).short == ("detected late",)
    assert "detected late" in death(records, replace(DEATH, seen=None)).short


ILLNESS = Illness(10.0, 20.0, 11.0, 25.0, 1000.0, 1100.0)


def illness(records: Sequence[Sent], what: Illness = ILLNESS) -> tuple[str, ...]:
    (trial,) = illness_trials(records, [what])
    return trial.short


def test_a_sick_replica_is_to_be_left_out_soon_without_a_storm_and_to_come_back() -> None:
    assert illness(steady(8, 30, A)) == ()
    assert illness(steady(8, 30, A), replace(ILLNESS, seen=21.0)) == ("ejected late",)
    assert illness(steady(8, 30, A), replace(ILLNESS, calls=1300.0)) == ("amplified",)
    assert illness(steady(8, 30, A), replace(ILLNESS, again=None)) == ("did not return",)
    failing = [sent(10 + step / 10, NO_VERSION, status=503) for step in range(6)]
    assert illness([*failing, *steady(11, 30, A)]) == ("lost",)


def test_a_row_tells_the_worst_of_all_trials() -> None:
    made = Generated([sent(0.0, A)], 0.5, 0.001)
    one = row("fault", [Trial((), {"lost": 0}), Trial(("lost",), {"lost": 3})], Whole(made, ("p99",)))
    assert (one.trials, one.passed, one.worst, one.short) == (2, 1, {"lost": 3}, {"lost": 1, "p99": 1})
    assert not one.kept
    assert not Row("nothing", 0, 0, {}, {}, {}).kept


@pytest.mark.parametrize("version", range(VERSIONS))
def test_an_answer_tells_its_version_and_its_text(version: int) -> None:
    assert version_told(mark(version, "a text"), "a text") == version
    assert version_told(mark(version, "a text"), "another text") is None


def test_a_load_that_took_far_longer_than_the_one_before_excuses_nothing() -> None:
    records = [*steady(8, 10, A), *steady(20, 30, A)]
    slow = replace(DEATH, again=20.0, load_seconds=(4.0, 9.0))
    assert death(records, slow).short == ("loaded slowly",)
    assert death(records, replace(slow, load_seconds=(5.0, 9.0))).short == ()
    assert death(records, replace(slow, load_seconds=(0.0, 0.0))).short == ("recovered late",)


def test_what_was_said_in_place_of_answers_is_counted_without_its_figures() -> None:
    told = [Sent(at, at, at + 0.1, 429, NO_VERSION, f"Too late. {at} s left.") for at in (1.0, 2.5)]
    wrong = Sent(3.0, 3.0, 3.1, 200, NO_VERSION, '{"scores":{}}')
    found = row("one", [], Whole(Generated([*told, wrong, Sent(4.0, 4.0, 4.1, 200, A)], 0.0, 0.0)))
    assert found.told == {"Too late. # s left.": 2, '{"scores":{}}': 1}
