"""The books of a pool's load."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.scaling import HISTORY_SECONDS, ROW_SECONDS, LoadReport
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.samples import quantile_of
from scaling_world import START, door_row, own_row, report

SLOTS = range(START, START + 40, ROW_SECONDS)
NOW = float(SLOTS[-1] + ROW_SECONDS) + 0.1


def ledger(
    came: Mapping[str, int], sent: Mapping[str, int], waited: Mapping[str, float] | None = None
) -> Ledger:
    """Books after twenty slots; in each so many came to each replica, and were sent to it."""
    books = Ledger()
    books.expected = frozenset({*came, "door"})
    for name, count in came.items():
        rows = [own_row(at, count, (waited or {}).get(name, 0.0)) for at in SLOTS]
        books.take(report(name, rows), NOW)
    books.take(report("door", [door_row(at, dict(sent)) for at in SLOTS], member=None), NOW)
    return books


def test_replicas_add_up() -> None:
    samples = ledger({"a": 10, "b": 12}, {"a": 10, "b": 12}).samples("sport", NOW)
    assert [one.at for one in samples] == list(SLOTS)
    assert {(one.arrivals_low, one.arrivals_high, one.heard) for one in samples} == {(22.0, 22.0, 1.0)}
    assert {sum(one.waits) for one in samples} == {22.0}


def test_replicas_of_a_slot_are_those_that_told_of_it() -> None:
    books = ledger({"a": 10}, {"a": 10})
    books.take(report("b", [own_row(at, 0) for at in SLOTS[-3:]]), NOW)
    assert [one.replicas for one in books.samples("sport", NOW)] == [1] * 17 + [2] * 3


def test_a_few_on_the_way_are_no_difference() -> None:
    assert ledger({"a": 10}, {"a": 11}).samples("sport", NOW)[-1].arrivals_high == 10.0


@pytest.mark.parametrize(("came", "sent"), [(100, 10), (10, 100)])
def test_one_that_tells_ten_times_as_much_counts_neither_up_nor_down(came: int, sent: int) -> None:
    sample = ledger({"a": came, "b": 10}, {"a": sent, "b": 10}).samples("sport", NOW)[-1]
    assert (sample.arrivals_low, sample.arrivals_high) == (20.0, 110.0)


def test_waits_in_one_of_three_are_its_own_matter() -> None:
    same = {"a": 10, "b": 10, "c": 10}
    samples = ledger(same, same, {"c": 9.0}).samples("sport", NOW)
    assert quantile_of(samples[-3:], 0.95) < 0.01
    samples = ledger(same, same, {"a": 6.0, "b": 8.0, "c": 9.0}).samples("sport", NOW)
    assert quantile_of(samples[-3:], 0.95) > 5.0


def test_replicas_that_have_just_come_make_no_waits_odd() -> None:
    """Beside the one whose queue called them they have none yet; those that were there all the time bear
    witness, though idle."""
    books = ledger({"a": 20, "b": 0}, {"a": 20}, {"a": 6.0})
    for name in ("c", "d"):
        books.take(report(name, [own_row(at, 0) for at in SLOTS[-3:]]), NOW)
    assert quantile_of(books.samples("sport", NOW)[-3:], 0.95) > 5.0
    same = {"a": 1, "b": 0, "c": 0}
    assert quantile_of(ledger(same, same, {"a": 9.0}).samples("sport", NOW)[-3:], 0.95) == 0.0


def test_waits_that_called_others_are_not_odd_later() -> None:
    """One was alone, and its queue was worked off while others came; what waited is not forgotten."""
    books = ledger({"a": 0}, {"a": 20})
    rows = [own_row(at, 20, 90.0 if at < SLOTS[8] else 0.0) for at in SLOTS]
    books.take(report("a", rows), NOW)
    for name in ("b", "c", "d"):
        books.take(report(name, [own_row(at, 20) for at in SLOTS[4:]]), NOW)
    for at in SLOTS:
        books.samples("sport", at + ROW_SECONDS + 0.1)
    assert sum(one.waits[-1] for one in books.samples("sport", NOW)) == 160


def test_who_is_expected_and_silent_is_missed() -> None:
    books = ledger({"a": 10}, {"a": 10})
    books.expected |= {"silent"}
    assert books.samples("sport", NOW)[-1].heard == pytest.approx(2 / 3)
    assert books.unheard(NOW) == {"silent"}
    books.expected -= {"silent"}
    assert books.samples("sport", NOW)[-1].heard == 1.0


def test_who_came_later_is_not_missed_before() -> None:
    books = ledger({"a": 10}, {"a": 10})
    books.expected |= {"new"}
    books.take(report("new", [own_row(SLOTS[-1], 0)]), NOW)
    assert {one.heard for one in books.samples("sport", NOW)} == {1.0}


def test_a_clock_that_is_off_is_set_right() -> None:
    books = Ledger()
    books.expected = frozenset({"a"})
    books.take(report("a", [own_row(at + 30, 5) for at in SLOTS]), NOW)
    assert [one.at for one in books.samples("sport", NOW)] == list(SLOTS)


def test_a_row_that_is_told_again_counts_once_and_as_told_last() -> None:
    books = ledger({"a": 100}, {"a": 10})
    books.take(report("a", [own_row(at, 10) for at in SLOTS]), NOW)
    assert {one.arrivals_high for one in books.samples("sport", NOW)[-5:]} == {10.0}


def test_a_reader_of_the_history_has_the_same_books() -> None:
    old, slots = Ledger(), range(START, START + HISTORY_SECONDS, ROW_SECONDS)
    old.expected = frozenset({"a", "door"})
    now = float(slots[-1] + ROW_SECONDS) + 0.1
    rows = [own_row(at, at % 7) for at in slots]
    sent = [door_row(at, {"a": at % 7}) for at in slots]
    for i in range(15, len(rows) + 1):
        old.take(report("a", rows[i - 15 : i]), float(rows[i - 1].at + ROW_SECONDS) + 0.1)
        old.take(report("door", sent[i - 15 : i], member=None), float(rows[i - 1].at + ROW_SECONDS) + 0.1)
        old.samples("sport", float(rows[i - 1].at + ROW_SECONDS) + 0.1)
    new = Ledger()
    new.expected = old.expected
    new.take(report("a", rows), now)
    new.take(report("door", sent[-15:], member=None), now)
    assert new.samples("sport", now) == old.samples("sport", now)


def test_what_is_old_is_forgotten() -> None:
    books = ledger({"a": 10}, {"a": 10})
    books.forget(NOW + HISTORY_SECONDS + 60)
    assert books.samples("sport", NOW) == ()
    assert books.replicas("sport", NOW).ready == 0


def test_the_middle_replica_speaks_for_all() -> None:
    books = Ledger()
    for name, pace in (("a", 40.0), ("b", 41.0), ("liar", 4000.0)):
        books.take(report(name, [own_row(SLOTS[-1], 1)], pace=pace, load_seconds=5.0), NOW)
    told = books.replicas("sport", NOW)
    assert (told.ready, told.limit, told.pace, told.load_seconds) == (3, 8, 41.0, 5.0)
    assert books.replicas("sport", NOW + 11.0).ready == 0


def test_held_requests_are_those_of_the_last_word() -> None:
    books = Ledger()
    books.take(report("door", [], member=None, held={"sport": 3}, now=NOW), NOW)
    books.take(report("other", [], member=None, held={"sport": 2, "world": 1}, now=NOW), NOW)
    assert (books.held("sport", NOW), books.held("world", NOW)) == (5.0, 1.0)
    assert books.held("sport", NOW + 11.0) == 0.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_nothing_is_lost_or_made_up(counts: list[int]) -> None:
    books = Ledger()
    books.expected = frozenset({"a"})
    rows = [own_row(START + i * ROW_SECONDS, count) for i, count in enumerate(counts)]
    now = float(rows[-1].at + ROW_SECONDS) + 0.1
    books.take(report("a", rows), now)
    total = sum(one.arrivals_high for one in books.samples("sport", now))
    assert total == sum(counts)


def test_held_requests_count_when_they_came_and_not_again_when_they_go_on() -> None:
    books, (first, second, third) = Ledger(), SLOTS[-3:]
    books.expected = frozenset({"a", "door"})
    doors = [door_row(first, {}, waiting=5), door_row(second, {"a": 5}).model_copy(update={"arrivals": 0})]
    books.take(report("door", [*doors, door_row(third, {"a": 2})], member=None), NOW)
    books.take(report("a", [own_row(first, 0), own_row(second, 5), own_row(third, 2)]), NOW)
    assert [one.arrivals_low for one in books.samples("sport", NOW)[-3:]] == [5.0, 0.0, 2.0]


def test_a_door_that_lies_about_what_it_sent_hides_nothing() -> None:
    sample = ledger({"a": 10}, {"a": 10}).samples("sport", NOW)[-1]
    books = ledger({"a": 10}, {"a": 10})
    lies = [door_row(at, {"a": 90}).model_copy(update={"arrivals": 0}) for at in SLOTS]
    books.take(report("door", lies, member=None), NOW)
    assert books.samples("sport", NOW)[-1].arrivals_low == sample.arrivals_low


def test_of_one_that_tells_too_little_what_runs_counts_as_much_more() -> None:
    books = Ledger()
    books.expected = frozenset({"a", "door"})
    rows = [own_row(at, 2).model_copy(update={"busy_seconds": 0.2}) for at in SLOTS]
    books.take(report("a", rows), NOW)
    books.take(report("door", [door_row(at, {"a": 20}) for at in SLOTS], member=None), NOW)
    assert books.samples("sport", NOW)[-1].busy_seconds == pytest.approx(2.0)


def test_rows_of_another_age_are_left_aside() -> None:
    books = Ledger()
    books.take(report("door", [door_row(0, {"a": 1}), door_row(SLOTS[-1], {"a": 1})], member=None), NOW)
    assert len(books.samples("sport", NOW)) == 1


def test_one_that_says_that_something_came_is_heard_though_its_rows_are_not_read() -> None:
    books = Ledger()
    books.hear(report("a", [own_row(SLOTS[-1], 1)]), NOW)
    assert books.replicas("sport", NOW).stirred
    books.hear(report("a", [own_row(SLOTS[-1], 0)]), NOW)
    assert not books.replicas("sport", NOW).stirred


HISTORY = range(START, START + HISTORY_SECONDS, ROW_SECONDS)
LATER = float(HISTORY[-1] + ROW_SECONDS) + 0.1


def half(name: str) -> LoadReport:
    """Of forty requests in each slot this door sent ten to each of two; doors tell of half a minute."""
    return report(name, [door_row(at, {"a": 10, "b": 10}) for at in HISTORY[-15:]], member=None)


def taken_over(*doors: str, a: int = 20) -> Ledger:
    """After the first look of a router that has just taken over."""
    books = Ledger()
    books.take(report("a", [own_row(at, a) for at in HISTORY]), LATER)
    books.take(report("b", [own_row(at, 20) for at in HISTORY]), LATER)
    for name in doors:
        books.take(half(name), LATER)
    books.samples("sport", LATER)
    return books


def test_a_door_that_is_heard_later_takes_nothing_from_the_history() -> None:
    books = taken_over("one")
    assert sum(one.arrivals_low for one in books.samples("sport", LATER)) == 6000
    books.take(half("two"), LATER)
    assert books.samples("sport", LATER) == taken_over("one", "two").samples("sport", LATER)
    assert sum(one.arrivals_low for one in books.samples("sport", LATER)) == 12000


def test_one_that_takes_over_from_a_door_that_died_has_its_history() -> None:
    """The other door sends all, as soon as it is known."""
    books = taken_over("one")
    for i in range(1, 21):
        at, now = HISTORY[-1] + i * ROW_SECONDS, LATER + i * ROW_SECONDS
        for name in ("a", "b"):
            books.take(report(name, [own_row(at, 20)]), now)
        books.take(report("one", [door_row(at, {"a": 20, "b": 20})], member=None), now)
        samples = books.samples("sport", now)
    before = [one for one in samples if one.at < HISTORY[-15]]
    assert sum(one.arrivals_low for one in before) == 40 * len(before) > 10000


def test_who_tells_too_much_is_not_believed_by_one_that_takes_over() -> None:
    samples = taken_over("one", "two", a=80).samples("sport", LATER)
    assert {one.arrivals_low for one in samples} == {40.0}
    assert {one.arrivals_high for one in samples} == {100.0}


@pytest.mark.parametrize("seconds", [2, 12, 40])
def test_who_tells_too_much_is_not_believed_however_late_a_look_is(seconds: int) -> None:
    books = Ledger()
    for at in range(START + seconds, START + 400, seconds):
        slots = range(max(START, at - 60), at, ROW_SECONDS)
        books.take(report("a", [own_row(one, 80) for one in slots]), at + 0.1)
        books.take(report("b", [own_row(one, 20) for one in slots]), at + 0.1)
        books.take(
            report("door", [door_row(one, {"a": 20, "b": 20}) for one in slots], member=None), at + 0.1
        )
        samples = books.samples("sport", at + 0.1)
    assert {one.arrivals_low for one in samples} == {40.0}


def test_waits_of_a_few_hundredths_are_odd_too() -> None:
    """The shortest target is a millisecond."""
    same = {"a": 10, "b": 10, "c": 10}
    books = ledger(same, same, {"c": 9.0})
    late = [own_row(at, 10, 0.045) for at in SLOTS[-2:]]
    books.take(report("c", [*(own_row(at, 10, 9.0) for at in SLOTS[:-2]), *late]), NOW)
    assert quantile_of(books.samples("sport", NOW)[-2:], 0.95) < 0.01


def test_a_quiet_door_that_is_heard_seldom_has_told_of_all() -> None:
    books = Ledger()
    books.expected = frozenset({"a", "door"})
    for seconds in range(4, 41, 4):
        now = START + seconds + 0.1
        books.take(report("a", [own_row(START + at, 0) for at in range(0, seconds, ROW_SECONDS)]), now)
        books.take(report("door", [], member=None, now=now), now)
    assert {one.heard for one in books.samples("sport", now)} == {1.0}


def test_a_door_that_was_away_has_not_told_of_that() -> None:
    books = Ledger()
    books.expected = frozenset({"a", "door"})
    for seconds in (4, 60):
        now = START + seconds + 0.1
        books.take(report("a", [own_row(START + at, 0) for at in range(0, seconds, ROW_SECONDS)]), now)
        books.take(report("door", [], member=None, now=now), now)
    assert [one.heard for one in books.samples("sport", now)] == [1.0] * 2 + [0.5] * 13 + [1.0] * 15
