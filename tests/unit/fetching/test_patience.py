"""How long a source is asked that does not answer; seconds are the test's own."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fastserve.fetching.download import Patience
from fastserve.fetching.remote import BrokenOff

HURRIED = Patience(first_seconds=0.0, longest_seconds=0.0)


class Silent:
    """A source each of whose silences takes so many seconds, or one that speaks at last."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.asked = 0.0, 0
        self._seconds = seconds
        monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: self.now))

    def ask(self) -> None:
        self.now += self._seconds
        self.asked += 1
        raise BrokenOff("nobody is there")


def tries(source: Silent, patience: Patience) -> int:
    with pytest.raises(BrokenOff):
        patience.retrying(lambda: 0, threading.Event())(source.ask)
    return source.asked


@pytest.mark.parametrize(("seconds", "asked"), [(0.1, 3), (1.9, 3), (3.0, 2), (10.0, 1)])
def test_the_first_word_is_waited_for_through_three_tries_that_begin_within_four_seconds(
    seconds: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tries(Silent(seconds, monkeypatch), HURRIED.for_the_first_word) == asked


def test_a_transfer_that_began_is_tried_six_times_however_long_that_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tries(Silent(60.0, monkeypatch), HURRIED) == 6


def test_less_patience_than_for_a_first_word_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tries(Silent(0.1, monkeypatch), replace(HURRIED, tries=2).for_the_first_word) == 2
