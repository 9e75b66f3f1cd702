"""Which replica is asked: the less busy of two, by what is under way and by the queues they told of."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from fastserve.router.outliers import Conduct, Fault
from fastserve.router.picking import lead_of, pick
from fastserve.router.replicas import MemberCall, MemberOutput


@dataclass
class Place:
    in_flight: int = 0
    ready: bool = True
    labels: tuple[str, ...] = ()
    version: str = ""
    conduct: Conduct = field(default_factory=Conduct)

    async def infer(self, call: MemberCall) -> MemberOutput:
        raise AssertionError("nobody is asked here")


def told(service: float, waited: float, at: float = 0.0) -> Conduct:
    """A replica that told the same of itself for a while."""
    conduct = Conduct()
    for _ in range(40):
        conduct.answered(at, service, waited)
    return conduct


def test_only_who_is_ready_is_picked() -> None:
    places = [Place(ready=False), Place(in_flight=9), Place(ready=False)]

    assert pick(places, 0.0) is places[1]
    assert pick([Place(ready=False)], 0.0) is None
    assert pick([], 0.0) is None


def test_the_less_busy_of_two_is_picked_and_equals_share() -> None:
    idle, busy = Place(in_flight=1), Place(in_flight=2)
    assert all(pick([busy, idle], 0.0) is idle for _ in range(20))

    shares = Counter(pick([idle, Place(in_flight=1)], 0.0) is idle for _ in range(400))
    assert min(shares.values()) > 120


def test_of_many_every_two_are_drawn_as_often() -> None:
    places = [Place(in_flight=number) for number in range(5)]
    picked = Counter(places.index(pick(places, 0.0) or places[0]) for _ in range(4000))

    # The least busy of two out of five: 4, 3, 2, 1 and none of ten pairs.
    assert [round(picked[number] / 400) for number in range(5)] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("in_flight", "waits", "lead"),
    [
        ((0, 0), (0.0, 0.1), 5.0),
        ((4, 0), (0.0, 0.1), 1.0),
        ((6, 0), (0.0, 0.1), -1.0),
        ((0, 0), (0.0, 0.004), 0),
    ],
)
def test_a_queue_weighs_as_many_calls_as_it_takes(
    in_flight: tuple[int, int], waits: tuple[float, float], lead: float
) -> None:
    first, second = (
        Place(count, conduct=told(0.02, wait)) for count, wait in zip(in_flight, waits, strict=True)
    )

    assert lead_of(first, second, 0.0) == pytest.approx(lead, abs=0.01)


def test_an_old_word_of_a_long_queue_does_not_keep_a_replica_idle() -> None:
    long_ago, idle = Place(conduct=told(0.02, 1.0)), Place(conduct=told(0.02, 0.0))
    assert all(pick([long_ago, idle], 0.0) is idle for _ in range(20))

    assert {pick([long_ago, idle], 10.0) is idle for _ in range(60)} == {True, False}


def test_who_was_left_out_is_picked_only_where_there_is_nobody_else() -> None:
    out, good = Place(), Place(in_flight=50)
    out.conduct.eject(Fault.FAILS, 0.0, None)
    assert all(pick([out, good], 0.0) is good for _ in range(20))

    good.ready = False
    assert pick([out, good], 0.0) is out
