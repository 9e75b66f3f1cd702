"""What the bench of many pools tells its routers, and how it reads their answers."""

import pytest

from harness.audit import Write
from scaling.many import Jump, answers_to
from scaling.told import LIMIT, PACE, Load, Replica


def load_of(rate: float, replicas: int) -> Load:
    load = Load("a", rate)
    load.replicas = {f"a-{number}": Replica(f"a-{number}", "a") for number in range(replicas)}
    return load


def test_both_books_tell_of_every_request_once() -> None:
    load = load_of(rate=10.25, replicas=3)
    for at in range(1000, 1080, 2):
        load.close(at)
    rows = [row for one in load.replicas.values() for row in one.rows]
    assert sum(row.arrivals for row in rows if row.own) == 10.25 * 80
    assert sum(sum(row.sent.values()) for row in rows if not row.own) == 10.25 * 80
    assert all(row.waiting == 0 for row in rows)


def test_more_than_a_replica_can_do_waits_and_no_more_than_it_lets_in() -> None:
    load = load_of(rate=2 * PACE, replicas=1)
    for at in range(1000, 1020, 2):
        load.close(at)
    own = [row for row in load.replicas["a-0"].rows if row.own]
    assert own[-1].waiting == LIMIT
    assert own[-1].answered == 2 * PACE
    assert own[-1].waits[0] == 0


def scale(at: str, name: str, code: int = 200) -> Write:
    return Write(f"1970-01-01T00:{at}Z", "router", "", f"update submodels/scale {name}", code, 2)


def test_a_write_answers_the_last_jump_before_it() -> None:
    jumps = [Jump("a", 60.0, 1, 3), Jump("b", 61.0, 3, 1), Jump("a", 120.0, 3, 1)]
    writes = [scale("00:30.0", "a"), scale("01:02.5", "a"), scale("01:06.0", "a"), scale("02:30.0", "a")]
    found = answers_to(jumps, writes)
    assert found["up"]["first"] == {"count": 1, "p50": 2.5, "p95": 2.5, "most": 2.5}
    assert found["up"]["last"]["most"] == 6.0
    assert (found["down"]["jumps"], found["down"]["first"]["count"]) == (2, 1)
    assert found["down"]["first"]["p50"] == pytest.approx(30.0)


def test_a_write_that_was_refused_answers_nothing() -> None:
    found = answers_to([Jump("a", 60.0, 1, 3)], [scale("01:02.5", "a", code=409)])
    assert found["up"]["first"] == {"count": 0}
