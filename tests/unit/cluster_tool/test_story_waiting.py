"""A story waits for a status that is not written yet as it waits for one that says something else."""

from collections.abc import Callable

import pytest

from harness.waiting import eventually


def late(*failures: Exception) -> Callable[[], str]:
    left = list(failures)

    def look() -> str:
        if left:
            raise left.pop(0)
        return "there"

    return look


@pytest.mark.parametrize("failure", [AssertionError("not so"), KeyError("Suspended"), IndexError("none")])
def test_what_is_not_there_yet_is_waited_for(failure: Exception) -> None:
    assert eventually(late(failure), 5, "it is there") == "there"


def test_the_last_reason_is_told() -> None:
    with pytest.raises(AssertionError, match=r"not yet: it is there .KeyError: 'Suspended'"):
        eventually(late(KeyError("Suspended")), 0, "it is there")


def test_another_error_is_no_reason_to_wait() -> None:
    with pytest.raises(TypeError):
        eventually(late(TypeError("a fault of the story")), 5, "it is there")
