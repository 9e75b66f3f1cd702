"""Kubernetes quantities as whole numbers. The package that could read them (kubernetes.utils) is a client of
the API, and what plans does not import one."""

import re
from fractions import Fraction
from typing import Final

from fastserve.api.meta import QUANTITY_PATTERN

MAX_QUANTITY: Final = 2**63 - 1
"""Kubernetes holds no larger one; whatever is written beyond counts as this."""
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_FARTHEST_EXPONENT: Final = 80
"""A quantity has at most 64 characters: with an exponent beyond this it is zero or more than the largest."""


def whole(text: str) -> int:
    """The value of a quantity, rounded up as Kubernetes does: ``1Gi`` is 1073741824, ``1m`` is 1.

    Raises ValueError where the text is no quantity.
    """
    if re.fullmatch(QUANTITY_PATTERN, text) is None:
        raise ValueError(f"{text!r} is no quantity")
    suffix = text.lstrip("+.0123456789")
    value = Fraction(text.removesuffix(suffix)) * _scale(suffix)
    return min(-(-value.numerator // value.denominator), MAX_QUANTITY)


def mebibytes(text: str) -> int:
    """A quantity of bytes in MiB, rounded up."""
    return -(-whole(text) // MIB)


def bytes_quantity(size: int) -> str:
    """Bytes as a quantity in the form that Kubernetes itself writes: ``201Gi``, ``1536Mi``, ``1000``."""
    fitting = [suffix for suffix, power in _BINARY.items() if size and size % (1 << power) == 0]
    return f"{size >> _BINARY[fitting[-1]]}{fitting[-1]}" if fitting else str(size)


def _scale(suffix: str) -> Fraction:
    if suffix in _BINARY:
        return Fraction(1 << _BINARY[suffix])
    power = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return Fraction(10) ** max(-_FARTHEST_EXPONENT, min(power, _FARTHEST_EXPONENT))
