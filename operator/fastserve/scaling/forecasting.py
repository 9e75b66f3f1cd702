"""The rate of requests some time ahead: a straight line through the last two minutes, used only where it
would have been nearer to what came than no forecast, over the history that there is."""

from collections.abc import Sequence
from itertools import pairwise

BIN_SECONDS = 10.0
LINE_BINS = 6
"""Bins that the line goes through."""
LEAST_TRIALS = 6
"""Below so many looks back nothing is known of how well it does."""
BETTER = 0.9
"""The line's mean error must be less than this share of no forecast's."""


def ahead(rates: Sequence[float], seconds: float) -> float | None:
    """Requests per second in `seconds`, given the rates of bins of BIN_SECONDS, the newest last; None where a
    line does not beat the last bin's rate."""
    steps = max(1, round(seconds / BIN_SECONDS))
    if not _beats_none(rates, steps):
        return None
    return max(0.0, _line(rates[-LINE_BINS:], steps))


def _beats_none(rates: Sequence[float], steps: int) -> bool:
    with_line, without, trials = 0.0, 0.0, 0
    for end in range(LINE_BINS, len(rates) - steps + 1):
        came = rates[end - 1 + steps]
        with_line += abs(_line(rates[end - LINE_BINS : end], steps) - came)
        without += abs(rates[end - 1] - came)
        trials += 1
    return trials >= LEAST_TRIALS and with_line < BETTER * without


def _line(rates: Sequence[float], steps: int) -> float:
    """Least squares through equidistant points, continued by so many steps."""
    count = len(rates)
    middle, mean = (count - 1) / 2.0, sum(rates) / count
    spread = sum((i - middle) ** 2 for i in range(count))
    slope = sum((i - middle) * (rate - mean) for i, rate in enumerate(rates)) / spread
    return mean + slope * (count - 1 - middle + steps)


def burst_of(counts: Sequence[float]) -> float:
    """Variance over mean of counts of equal slots, by the differences of neighbours, so that a trend counts
    for nothing (von Neumann, 1941); 1 (Poisson) at the least, 10 at the most. The greatest count is left out:
    one word alone, which may be wrong, is no burst."""
    if len(counts) > 2:
        greatest = max(range(len(counts)), key=counts.__getitem__)
        counts = [*counts[:greatest], *counts[greatest + 1 :]]
    mean = sum(counts) / len(counts) if counts else 0.0
    if mean <= 0.0 or len(counts) < 2:
        return 1.0
    steps = [(after - before) ** 2 for before, after in pairwise(counts)]
    return min(10.0, max(1.0, sum(steps) / (2.0 * len(steps) * mean)))
