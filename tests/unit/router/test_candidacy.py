"""Which routers look whether they are to hold the Lease."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fastserve.router.pool import Pool
from fastserve.router.scaling.wiring import Candidacy
from fastserve.router.settings import RouterSettings


def candidacy(
    member: str | None, *, instance: str = "b", ready: bool = True, peers: Any = (), listed: Any = ()
) -> Candidacy:
    replicas = {one.instance: one for one in peers}
    own = SimpleNamespace(ready=ready) if member is not None else None
    pool = SimpleNamespace(own=own, peers=SimpleNamespace(replicas=replicas, listed=listed))
    return Candidacy(
        cast("RouterSettings", SimpleNamespace(member=member, instance=instance)), cast("Pool", pool)
    )


def peer(instance: str, *, member: str | None = "sport", ready: bool | None = True) -> Any:
    return SimpleNamespace(instance=instance, member=member, ready=ready)


def test_a_stand_by_router_always_stands_and_stays() -> None:
    one = candidacy(None, listed=(peer("x", member=None),))
    assert (one.is_second, one.stands(), one.may_stay()) == (False, True, True)


@pytest.mark.parametrize(
    ("peers", "stands"),
    [((), True), (("c",), True), (("a",), False), (("a", "c"), False)],
)
def test_of_the_others_one_stands(peers: tuple[str, ...], stands: bool) -> None:
    assert candidacy("sport", peers=[peer(name) for name in peers]).stands() is stands


def test_one_that_does_not_answer_is_not_counted_and_does_not_stand() -> None:
    assert candidacy("sport", peers=[peer("a", ready=False)]).stands()
    assert not candidacy("sport", ready=False).stands()


@pytest.mark.parametrize(("ready", "stays"), [(True, False), (False, True), (None, True)])
def test_it_stays_until_a_stand_by_router_is_ready(ready: bool | None, stays: bool) -> None:
    assert candidacy("sport", listed=(peer("x", member=None, ready=ready),)).may_stay() is stays
