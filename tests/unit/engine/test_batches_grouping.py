from hypothesis import given
from hypothesis import strategies as st

from fastserve.engine.batches import Limits, group_by_length

lengths = st.lists(st.integers(min_value=1, max_value=512), max_size=64)
limits = st.builds(
    Limits,
    waste=st.floats(min_value=0.0, max_value=0.9),
    free_padding=st.integers(min_value=0, max_value=64),
    tokens=st.integers(min_value=1, max_value=4096),
)


@given(lengths, limits)
def test_every_row_is_in_exactly_one_group(rows: list[int], bounds: Limits) -> None:
    assert sorted(i for group in group_by_length(rows, bounds) for i in group) == list(range(len(rows)))


@given(lengths, limits)
def test_a_group_wastes_no_more_than_it_may(rows: list[int], bounds: Limits) -> None:
    for group in group_by_length(rows, bounds):
        size = max(rows[i] for i in group) * len(group)
        padding = size - sum(rows[i] for i in group)
        assert padding <= max(bounds.free_padding, bounds.waste * size)
        assert size <= bounds.tokens or len(group) == 1


@given(lengths, limits)
def test_no_row_is_longer_than_a_row_of_an_earlier_group(rows: list[int], bounds: Limits) -> None:
    order = [rows[i] for group in group_by_length(rows, bounds) for i in group]
    assert order == sorted(order, reverse=True)


def test_rows_of_one_length_are_one_group() -> None:
    assert group_by_length([12] * 32) == [list(range(32))]


def test_one_long_row_does_not_lengthen_the_short_ones() -> None:
    assert group_by_length([8, 512, 8, 8]) == [[1], [0, 2, 3]]


def test_a_little_padding_is_cheaper_than_another_pass() -> None:
    assert group_by_length([8, 20]) == [[1, 0]]
