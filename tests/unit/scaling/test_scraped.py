"""Raw samples of counters become rows: none is lost, none counted twice, nothing wrong believed."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.scaling import ROW_SECONDS, WAIT_BOUNDS, LoadRow
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.samples import Sample
from fastserve.scaling.scraped import ARRIVALS, BUSY, DOORS, WAITING, WAITS, Key, Reading, Scraped, read
from scaling_world import START, report


def router(
    name: str,
    values: Mapping[float, float],
    more: Mapping[Key, Mapping[float, float]] | None = None,
    times: Sequence[float] | None = None,
) -> Scraped:
    """A router of sport with so many arrivals by time."""
    series = {(ARRIVALS, "sport"): values, **(more or {})}
    return Scraped(name, "sport", tuple(times or sorted(values)), series)


def door(name: str, values: Mapping[float, float], times: Sequence[float] | None = None) -> Scraped:
    return Scraped(name, "", tuple(times or sorted(values)), {(DOORS, "sport"): values})


def at(every: float, values: Sequence[float], first: float = START) -> dict[float, float]:
    """Values of scrapes so far apart."""
    return {first + i * every: value for i, value in enumerate(values)}


def own(reading: Reading, name: str = "sport-0") -> list[LoadRow]:
    return [row for row in reading.routers[name].rows if row.own]


def arrivals(*values: float, every: float = 10.0) -> list[int]:
    """The arrivals of the rows that a counter comes to; of a router whose scrapes are these."""
    reading = read([router("sport-0", at(every, values))], {})
    return [row.arrivals for row in own(reading)] if reading.routers else []


def test_an_increase_is_spread_evenly_over_the_slots_between_two_scrapes() -> None:
    assert arrivals(7, 57, 67) == [10] * 5 + [2] * 5


def test_only_slots_wholly_between_scrapes_are_told() -> None:
    reading = read([router("sport-0", at(15.0, [0, 10, 20], START + 1.0))], {})

    assert reading.routers["sport-0"].covered == range(START + 2, START + 30, ROW_SECONDS)


def test_what_is_told_already_is_not_told_again() -> None:
    scraped = [router("sport-0", at(10.0, [0, 10, 20]))]

    again = read(scraped, {"sport-0": START + 14}).routers["sport-0"]
    assert [row.at for row in again.rows if row.own] == [START + 14, START + 16, START + 18]
    assert again.covered == range(START + 14, START + 20, 2)
    assert read(scraped, {"sport-0": START + 20}).routers == {}


def test_a_counter_that_falls_began_anew() -> None:
    assert sum(arrivals(1000, 1010, 6, 16)) == 10 + 6 + 10


def test_a_counter_that_falls_a_little_did_not_begin_anew() -> None:
    assert sum(arrivals(1_000_000, 1_000_010, 1_000_020, 1_000_019, 1_000_029)) == 29


def test_a_spike_that_the_next_scrape_takes_back_is_dropped() -> None:
    assert sum(arrivals(100, 110, 90_000, 130, 140)) == 40


def test_a_spike_before_a_restart_is_dropped() -> None:
    assert sum(arrivals(100, 110, 90_000, 5, 15)) == 10 + 5 + 10


def test_a_dip_that_the_next_scrape_takes_back_is_dropped() -> None:
    assert sum(arrivals(10_000, 10_010, 5, 10_030, 10_040)) == 40


@pytest.mark.parametrize("bad", [nan, inf, -inf, -1.0, 1e300])
def test_what_no_counter_can_be_is_dropped_and_counted(bad: float) -> None:
    scraped = router("sport-0", at(10.0, [100, 110, bad, 130]))

    reading = read([scraped], {})
    assert sum(row.arrivals for row in own(reading)) == 30
    assert len(own(reading)) == 15
    assert reading.dropped == 1


def test_a_leap_waits_for_the_next_scrape() -> None:
    assert arrivals(100, 110, 120, 1_000) == [2] * 10
    assert sum(arrivals(100, 110, 120, 1_000, 1_900)) == 1_800


def test_a_leap_of_one_holds_all_others_back_but_not_for_long() -> None:
    leaping, calm = at(10.0, [100, 110, 120, 1_000]), at(10.0, [100, 110, 120, 130])
    reading = read([router("sport-0", leaping), router("sport-1", calm)], {})
    assert reading.routers["sport-1"].covered.stop == START + 20

    broken = {time: nan if time > START else 0.0 for time in at(10.0, range(6))}
    reading = read([router("sport-0", broken), router("sport-1", at(10.0, range(6)))], {})
    assert reading.routers["sport-1"].covered.stop == START + 50
    assert "sport-0" not in reading.routers


def test_a_router_that_is_gone_holds_nobody_back() -> None:
    gone, there = at(10.0, range(4)), at(10.0, range(10))
    reading = read([router("sport-0", gone), router("sport-1", there)], {})

    assert reading.routers["sport-1"].covered.stop == START + 90
    assert reading.fresh == {"sport-1"}
    assert (reading.newest, reading.interval) == (START + 90, 10.0)


def test_a_counter_that_is_told_from_its_first_request_on_began_at_zero() -> None:
    times = sorted(at(10.0, range(5)))
    series = {(DOORS, "sport"): at(10.0, [40, 60], START + 30)}
    doors = Scraped("door-0", "", tuple(times), series)
    got = at(10.0, [0, 0, 0, 40, 60])
    found = samples([doors, router("sport-0", got)])

    assert [(one.arrivals_low, one.arrivals_high) for one in found] == [(0, 0)] * 10 + [(8, 8)] * 5 + [
        (4, 4)
    ] * 5


def test_one_whose_first_value_cannot_be_did_not_begin_at_zero() -> None:
    assert arrivals(nan, 500, 502) == [0, 0, 1, 0, 1]


def test_scrapes_that_are_missing_are_bridged() -> None:
    values = {START: 0.0, START + 10.0: 10.0, START + 40.0: 70.0, START + 50.0: 80.0}
    reading = read([router("sport-0", values)], {})

    assert [row.arrivals for row in own(reading)] == [2] * 5 + [4] * 15 + [2] * 5


def test_busy_time_and_what_waits_are_told_too() -> None:
    more = {
        (BUSY, "sport"): at(10.0, [5.0, 6.0, 8.0]),
        (WAITING, "sport"): at(10.0, [0, 3, 7]),
    }
    reading = read([router("sport-0", at(10.0, [0, 0, 0]), more)], {})

    rows = own(reading)
    assert [row.busy_seconds for row in rows] == [0.2] * 5 + [0.4] * 5
    assert [row.waiting for row in rows] == [3] * 5 + [7] * 5


def buckets(counts: Sequence[Sequence[int]]) -> dict[Key, dict[float, float]]:
    """Series of a histogram of which at each scrape so many lay in each bucket."""
    sums = [list(accumulate(one)) for one in counts]
    labels = [*(str(bound) for bound in WAIT_BOUNDS), "+Inf"]
    return {(WAITS, le): at(10.0, [one[i] for one in sums]) for i, le in enumerate(labels)}


counts = st.lists(
    st.lists(st.integers(0, 19), min_size=len(WAIT_BOUNDS) + 1, max_size=len(WAIT_BOUNDS) + 1),
    min_size=2,
    max_size=6,
)


@given(counts)
def test_waits_are_counted_by_bucket(more: list[list[int]]) -> None:
    totals = list(accumulate(more, lambda a, b: [x + y for x, y in zip(a, b, strict=True)]))
    zeros = at(10.0, [0] * len(totals))
    reading = read([router("sport-0", zeros, buckets(totals))], {})

    rows = own(reading) if reading.routers else []
    slots = round(len(rows) * ROW_SECONDS / 10)
    told = [sum(one) for one in zip(*(row.waits for row in rows), strict=True)] or [0] * len(more[0])
    assert told == [totals[slots][i] - totals[0][i] for i in range(len(told))]


def test_a_histogram_of_other_buckets_tells_no_waits() -> None:
    odd = {(WAITS, "0.5"): at(10.0, [0, 1]), (WAITS, "+Inf"): at(10.0, [0, 2])}

    assert {row.waits for row in own(read([router("sport-0", at(10.0, [0, 1]), odd)], {}))} == {()}


def samples(scraped: Sequence[Scraped]) -> tuple[Sample, ...]:
    """Of sport, as the books have them."""
    ledger, reading = Ledger(), read(scraped, {})
    for name, told in reading.routers.items():
        ledger.hear(report(name, (), told.member or None), START)
        ledger.enter(name, told.rows, told.covered)
    ledger.expected = frozenset(reading.routers)
    return ledger.samples("sport", reading.newest)


def test_books_that_agree_are_one() -> None:
    at_doors, at_replicas = at(10.0, range(0, 900, 100), START + 3), at(10.0, range(0, 450, 50))
    doors = [door("door-0", at_doors)]

    found = samples([*doors, router("sport-0", at_replicas), router("sport-1", at_replicas)])
    assert found
    assert all(one.arrivals_low == one.arrivals_high == 20 for one in found)
    assert all(one.heard == 1.0 for one in found[2:])


def test_books_that_differ_are_told_apart() -> None:
    lies, truth = at(10.0, range(0, 90_000, 10_000)), at(10.0, range(0, 900, 100))

    high = samples([door("door-0", truth), router("sport-0", lies)])[-1]
    assert (high.arrivals_low, high.arrivals_high) == (20, 2_000)
    low = samples([door("door-0", lies), router("sport-0", truth)])[-1]
    assert (low.arrivals_low, low.arrivals_high) == (20, 2_000)


def test_without_doors_in_prometheus_the_replicas_are_believed() -> None:
    found = samples([router("sport-0", at(10.0, range(0, 900, 100)))])

    assert {(one.arrivals_low, one.arrivals_high) for one in found} == {(20, 20)}


# Properties: what a counter of a router that may start again truly counts, scraped now and then.

gaps = st.lists(st.floats(0.5, 40.0), min_size=2, max_size=25)
rates = st.floats(0.0, 60.0)


@st.composite
def honest(draw: st.DrawFn) -> tuple[dict[float, float], list[float]]:
    """Scrapes of a counter that only rises, and what had come at each; no leap: its rate changes by less
    than five times, or by few."""
    first = START + draw(st.floats(0, 10))
    times = [first + one for one in accumulate(draw(gaps))]
    rate, totals = draw(rates), [0.0]
    for a, b in pairwise(times):
        totals.append(totals[-1] + float(int(rate * draw(st.floats(0.5, 1.5)) * (b - a))))
    began = draw(st.integers(0, 10**6))
    return {at: began + total for at, total in zip(times, totals, strict=True)}, totals


def told(values: Mapping[float, float]) -> tuple[int, range]:
    reading = read([router("sport-0", values)], {})
    if not reading.routers:
        return 0, range(0)
    return sum(row.arrivals for row in own(reading)), reading.routers["sport-0"].covered


def line(values: Mapping[float, float], time: float) -> float:
    """Where a counter that rises evenly between scrapes is then."""
    times = sorted(values)
    i = min(max(bisect_right(times, time), 1), len(times) - 1)
    a, b = times[i - 1], times[i]
    return values[a] + (values[b] - values[a]) * (time - a) / (b - a)


@given(honest())
def test_the_total_is_kept(counter: tuple[dict[float, float], list[float]]) -> None:
    values, _ = counter
    total, covered = told(values)

    if covered:
        assert abs(total - (line(values, covered.stop) - line(values, covered.start))) <= 1.001


@settings(max_examples=40)
@given(honest())
def test_reading_bit_by_bit_comes_to_the_same_as_reading_at_once(
    counter: tuple[dict[float, float], list[float]],
) -> None:
    values, _ = counter
    since: dict[str, int] = {}
    rows: list[LoadRow] = []
    for count in range(2, len(values) + 1):
        seen = dict(sorted(values.items())[:count])
        reading = read([router("sport-0", seen)], since)
        for name, one in reading.routers.items():
            rows += [row for row in one.rows if row.own]
            since[name] = one.covered.stop

    total, covered = told(values)
    assert [row.at for row in rows] == list(covered)
    assert abs(sum(row.arrivals for row in rows) - total) <= 1


@given(honest(), st.data())
def test_scrapes_that_are_lost_lose_no_requests(
    counter: tuple[dict[float, float], list[float]], data: st.DataObject
) -> None:
    values, _ = counter
    times = sorted(values)
    kept = {times[0], times[-1], *data.draw(st.sets(st.sampled_from(times)))}
    total, covered = told({at: value for at, value in values.items() if at in kept})

    if covered and covered.stop > times[-1] - ROW_SECONDS:
        most = values[times[-1]] - values[times[0]]
        before, after = covered.start - times[0], times[-1] - covered.stop
        assert before < ROW_SECONDS
        assert after < ROW_SECONDS
        assert total <= most + 1


@given(honest(), st.data())
def test_spikes_and_values_that_cannot_be_change_no_total(
    counter: tuple[dict[float, float], list[float]], data: st.DataObject
) -> None:
    values, _ = counter
    times = sorted(values)
    inner = times[1:-1]
    spoilt = dict(values)
    for i in data.draw(st.sets(st.integers(0, max(0, len(inner) - 1)))) if inner else ():
        if i % 2 == 0:  # not two side by side: a spike that the next one confirms is believed
            spoilt[inner[i]] = data.draw(st.sampled_from([nan, inf, -5.0, 1e12, 5e14]))
    total, covered = told(spoilt)

    if covered:
        true = line(values, covered.stop) - line(values, covered.start)
        widest = max(values[b] - values[a] for a, b in pairwise(times))
        assert total <= values[times[-1]] - values[times[0]] + 1
        assert abs(total - true) <= 2 * widest + 2


@given(honest(), st.data())
def test_a_restart_loses_only_what_no_scrape_saw(
    counter: tuple[dict[float, float], list[float]], data: st.DataObject
) -> None:
    values, totals = counter
    times = sorted(values)
    cut = data.draw(st.integers(1, len(times) - 1))
    again = {at: totals[i] - (totals[cut - 1] if i >= cut else -(10.0**6)) for i, at in enumerate(times)}
    total, covered = told(again)

    if covered:
        true = dict(zip(times, totals, strict=True))
        widest = max(b - a for a, b in pairwise(totals))
        came = line(true, covered.stop) - line(true, covered.start)
        assert came - widest - 1.001 <= total <= came + 1.001


@given(st.lists(st.tuples(st.floats(0.1, 60.0), st.floats()), max_size=20), st.booleans())
def test_whatever_the_samples_are_rows_are_valid(points: list[tuple[float, float]], is_door: bool) -> None:
    times = list(accumulate((gap for gap, _ in points), initial=float(START)))[1:]
    values = dict(zip(times, (value for _, value in points), strict=True))
    reading = read([door("a", values) if is_door else router("a", values)], {})

    for told_of in reading.routers.values():
        assert all(row.at in told_of.covered for row in told_of.rows)
        assert all(times[0] <= row.at and row.at + ROW_SECONDS <= times[-1] for row in told_of.rows)
