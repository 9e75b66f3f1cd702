"""The supervisor's small decisions."""

import pytest

from fastserve.local.supervisor import FIRST_DELAY, LAST_DELAY, describe_exit, restart_delay


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_a_bound() -> None:
    delays = [restart_delay(deaths) for deaths in range(12)]
    assert delays[0] == delays[1] == FIRST_DELAY
    assert delays == sorted(delays)
    assert delays[-1] == LAST_DELAY


@pytest.mark.parametrize(("code", "words"), [(-9, "signal SIGKILL"), (0, "exit code 0"), (3, "exit code 3")])
def test_an_exit_is_told_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
