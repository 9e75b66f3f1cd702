"""Which texts of a batch run together.

A batch is padded to its longest text, so one long text makes every short one cost as much as itself.
Groups of similar length cost less, but every group is one more forward pass. Rows are taken longest
first; a row joins the current group while the group's padding stays within `waste` of its size, or
while the padding is so small that another pass would cost more. Pure: lengths in, indices out.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one group. `waste` is the share of padding in rows * longest; `free_padding` is how many
    padding tokens cost less than a pass of their own; `tokens` bounds rows * longest, and so the memory."""

    waste: float = 0.25
    free_padding: int = 32
    tokens: int = 16384


def group_by_length(lengths: Sequence[int], limits: Limits | None = None) -> list[list[int]]:
    """Indices of `lengths` in groups, the longest first within each and over all.

    Every index is in exactly one group. A group of more than one row never holds more than
    ``limits.tokens`` tokens, padding included.
    """
    bounds = limits or Limits()
    groups: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if groups and _fits(lengths[groups[-1][0]], len(groups[-1]) + 1, real + length, bounds):
            groups[-1].append(index)
            real += length
        else:
            groups.append([index])
            real = length
    return groups


def _fits(longest: int, rows: int, real: int, limits: Limits) -> bool:
    size = longest * rows
    padding = size - real
    return size <= limits.tokens and (padding <= limits.free_padding or padding <= limits.waste * size)
