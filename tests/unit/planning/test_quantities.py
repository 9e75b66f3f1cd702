"""Kubernetes quantities."""

from decimal import ROUND_CEILING, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.planning.quantities import MAX_QUANTITY, bytes_quantity, mebibytes, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("7", 7),
        ("+7", 7),
        ("7.", 7),
        (".5k", 500),
        ("100Gi", 100 << 30),
        ("1.5Mi", 3 << 19),
        ("80G", 80 * 10**9),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1e+3", 1000),
        ("15e-1", 2),
        ("1E", 10**18),
        ("1Ei", 1 << 60),
        ("1m", 1),
        ("1001m", 2),
        ("1n", 1),
        ("16Ei", MAX_QUANTITY),
        ("1e999999999999999999999999999999999999999999999999999", MAX_QUANTITY),
        ("1e-99999999999999999999999999999999999999999999999999", 1),
        ("0e99999999999999999999999999999999999999999999999999", 0),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text: str, value: int) -> None:
    assert whole(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1 Gi", "1gi", "1Gi ", "1e", "0x1", "1_000", "\u0661"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        whole(text)


def test_mebibytes_are_rounded_up_so_that_no_gpu_is_too_small() -> None:
    assert mebibytes("80G") == 76294
    assert mebibytes("80Gi") == 81920
    assert mebibytes("1") == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1000, "1000"), (201 << 30, "201Gi"), (1536 << 20, "1536Mi"), (1 << 60, "1Ei")],
)
def test_bytes_are_written_with_the_largest_suffix_that_fits(size: int, text: str) -> None:
    assert bytes_quantity(size) == text


@given(st.integers(min_value=0, max_value=MAX_QUANTITY))
def test_bytes_that_are_written_are_read_again(size: int) -> None:
    assert whole(bytes_quantity(size)) == size


@given(
    st.decimals(min_value=0, max_value=10**9, allow_nan=False, places=4),
    st.sampled_from([("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("e2", 2), ("E-2", -2)]),
)
def test_decimal_suffixes_agree_with_decimal_arithmetic(number: Decimal, suffix: tuple[str, int]) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = number.scaleb(suffix[1]).to_integral_value(ROUND_CEILING)
    assert whole(f"{number}{suffix[0]}") == int(exact)
