"""Whether one more replica fits: memory, GPUs, ports."""

import pytest

from fastserve.local.documents import RouterPlace
from fastserve.local.machine import Memory
from fastserve.local.room import GIB, Replica, Room

PLACE = RouterPlace(instance="sport-0", member="sport", data="127.0.0.1:1", admin="127.0.0.1:2")


def replica(
    gpus: tuple[str, ...] = (), ports: tuple[int, ...] = (), *, version: str = "a", answered: bool = False
) -> Replica:
    one = Replica(PLACE, ports, gpus, version, estimate=2 * GIB, patience=1.0)
    one.answered = answered
    return one


def room(available: float, *, total: int = 16, resident: float = 0.0, gpus: tuple[str, ...] = ()) -> Room:
    """Gibibytes; every replica takes `resident` of them."""
    memory = Memory(total * GIB, int(available * GIB))
    return Room(gpus, (), lambda _: int(resident * GIB), lambda: memory)


@pytest.mark.parametrize(
    ("available", "total", "fits"), [(3.6, 16, True), (3.5, 16, False), (3.0, 4, True), (2.9, 4, False)]
)
def test_a_tenth_of_the_machine_and_at_least_a_gibibyte_stays_free(
    available: float, total: int, fits: bool
) -> None:
    assert (room(available, total=total).lacks("a", 2 * GIB) == "") == fits


def test_why_it_does_not_fit_is_told_with_its_numbers() -> None:
    assert room(3.0, total=16).lacks("a", 2 * GIB) == (
        "a replica takes about 2.0 GiB of memory; 3.0 GiB are free, and 1.6 GiB of them stay so"
    )


def test_what_a_replica_was_seen_to_take_takes_the_place_of_the_estimate() -> None:
    one = room(3.0, resident=0.5)
    assert one.lacks("a", 2 * GIB)
    one.replicas.append(replica(answered=True))
    assert one.lacks("a", 2 * GIB) == ""
    assert one.lacks("b", 2 * GIB), "another version is another model"


def test_what_a_replica_took_that_is_gone_is_remembered() -> None:
    one = room(3.0, resident=0.5)
    one.note(replica(answered=True))
    assert one.lacks("a", 2 * GIB) == ""


def test_one_that_loads_tells_nothing_and_keeps_what_it_is_still_to_take() -> None:
    one = room(5.0, resident=0.5)
    assert one.lacks("a", 2 * GIB) == ""
    one.replicas.append(replica())
    assert "3.5 GiB are free" in one.lacks("a", 2 * GIB)


def test_one_that_leaves_takes_no_more() -> None:
    one = room(3.6, resident=0.5)
    leaving = replica()
    leaving.left_at = 1.0
    one.replicas.append(leaving)
    assert one.lacks("a", 2 * GIB) == ""


def test_a_gpu_is_one_replica_s() -> None:
    one = room(16, gpus=("0", "1", "2"))
    one.replicas.append(replica(gpus=("1",)))
    assert one.free_gpus() == ("0", "2")


def test_ports_that_are_allotted_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[set[int]] = []

    def free(count: int, but: set[int]) -> list[int]:
        taken.append(but)
        return [9] * count

    monkeypatch.setattr("fastserve.local.room.free_ports", free)
    one = Room((), (1, 2), lambda _: 0)
    one.replicas.append(replica(ports=(3, 4)))
    assert (one.free_ports(2), taken) == ((9, 9), [{1, 2, 3, 4}])
