"""Who waits in a queue that stands waits for more replicas where some can come, or are on their way."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fastserve.api.scaling import Staff
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool


@pytest.mark.parametrize(
    ("staff", "more"),
    [
        (None, False),
        (Staff(most=3, replicas=1), True),
        (Staff(most=3, replicas=3), True),
        (Staff(most=1, replicas=1), False),
    ],
)
def test_more_come_below_the_most_and_while_some_are_not_ready(staff: Staff | None, more: bool) -> None:
    pool: Any = Pool("news", None, Peers("me", cast("Any", lambda *_: None)))
    assert not pool.more_come()
    pool.own = SimpleNamespace(member="sport", ready=True)
    pool.snapshot = SimpleNamespace(members={"sport": SimpleNamespace(name="sport", staff=staff)})
    assert pool.more_come() == more
