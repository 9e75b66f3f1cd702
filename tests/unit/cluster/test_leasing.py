"""Two replicas and one Lease, in virtual time."""

import asyncio
import copy
from contextlib import suppress

import pytest

from fastserve.api.objects import Kind, Manifest, ObjectKey
from fastserve.cluster.leasing import Leadership, LeaseLost, LeaseTimes
from fastserve.errors import Conflict, NotFound, Unreachable
from virtual_time import run_in_virtual_time

KEY = ObjectKey("fastserve-system", "fastserve-operator")


class Store:
    """One object with a resourceVersion, and a door that can be shut or stuck."""

    def __init__(self) -> None:
        self.stored: Manifest | None = None
        self.shut: set[str] = set()
        self.stuck = False

    def by(self, name: str) -> "Door":
        return Door(self, name)


class Door:
    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    async def _pass(self) -> None:
        if self._store.stuck:
            await asyncio.sleep(1e6)
        if self._name in self._store.shut:
            raise Unreachable("away")

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest:
        await self._pass()
        if self._store.stored is None:
            raise NotFound(str(key))
        return copy.deepcopy(self._store.stored)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        await self._pass()
        if self._store.stored is not None:
            raise Conflict("there is one")
        return self._keep(manifest, 1)

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        await self._pass()
        assert self._store.stored is not None
        version = self._store.stored["metadata"]["resourceVersion"]
        if manifest["metadata"]["resourceVersion"] != version:
            raise Conflict("another came first")
        return self._keep(manifest, int(version) + 1)

    def _keep(self, manifest: Manifest, version: int) -> Manifest:
        stored = copy.deepcopy(manifest)
        stored["metadata"]["resourceVersion"] = str(version)
        self._store.stored = stored
        return copy.deepcopy(stored)


def replica(store: Store, name: str) -> Leadership:
    return Leadership(store.by(name), KEY, name, LeaseTimes())


async def holding(leadership: Leadership) -> "asyncio.Task[None]":
    await leadership.acquire()
    return asyncio.create_task(leadership.keep())


async def end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, LeaseLost):
        await task


def now() -> float:
    return asyncio.get_running_loop().time()


def test_of_two_replicas_one_acts() -> None:
    async def story() -> None:
        store = Store()
        one, other = replica(store, "one"), replica(store, "other")
        task = await holding(one)
        waiting = asyncio.create_task(other.acquire())
        await asyncio.sleep(600)
        assert one.is_held
        assert not other.is_held
        assert not waiting.done()
        with pytest.raises(LeaseLost):
            other.check()
        await end(task)
        await end(waiting)

    run_in_virtual_time(story())


def test_a_holder_that_is_killed_is_followed_within_its_duration_and_two_attempts() -> None:
    async def story() -> None:
        store = Store()
        task = await holding(replica(store, "one"))
        other = replica(store, "other")
        waiting = asyncio.create_task(other.acquire())
        await asyncio.sleep(100)
        await end(task)
        killed = now()
        await waiting
        assert 13 <= now() - killed <= 19
        assert store.stored is not None
        assert store.stored["spec"]["leaseTransitions"] == 2

    run_in_virtual_time(story())


def test_a_holder_that_gives_back_is_followed_within_two_seconds() -> None:
    async def story() -> None:
        store = Store()
        one, other = replica(store, "one"), replica(store, "other")
        task = await holding(one)
        waiting = asyncio.create_task(other.acquire())
        await asyncio.sleep(100)
        await end(task)
        await one.release()
        released = now()
        assert not one.is_held
        await waiting
        assert now() - released <= 2

    run_in_virtual_time(story())


@pytest.mark.parametrize("is_hung", [False, True])
def test_a_holder_that_cannot_renew_stops_acting_before_another_may_begin(is_hung: bool) -> None:
    async def story() -> None:
        store = Store()
        one, other = replica(store, "one"), replica(store, "other")
        task = await holding(one)
        waiting = asyncio.create_task(other.acquire())
        await asyncio.sleep(100)
        store.shut, store.stuck = {"one"}, is_hung
        cut = now()
        while one.is_held:
            await asyncio.sleep(0.1)
        assert 7.9 <= now() - cut <= 10.2
        assert not other.is_held
        with pytest.raises(LeaseLost):
            await task
        assert now() - cut <= 17
        store.stuck = False
        await waiting
        assert other.is_held
        assert not one.is_held

    run_in_virtual_time(story())


def test_a_holder_that_was_stopped_for_a_while_knows_at_once_that_it_must_not_act() -> None:
    async def story() -> None:
        one = replica(Store(), "one")
        await one.acquire()
        one.check()
        await asyncio.sleep(40)
        with pytest.raises(LeaseLost):
            one.check()

    run_in_virtual_time(story())


def test_an_outage_of_hours_takes_the_lease_and_its_end_gives_it_to_one() -> None:
    async def story() -> None:
        store = Store()
        one = replica(store, "one")
        task = await holding(one)
        store.shut = {"one"}
        with pytest.raises(LeaseLost):
            await task
        waiting = asyncio.create_task(one.acquire())
        await asyncio.sleep(3 * 3600)
        assert not waiting.done()
        store.shut = set()
        back = now()
        await waiting
        assert now() - back <= 2

    run_in_virtual_time(story())


def test_a_lease_of_a_process_started_again_under_the_same_name_is_its_own_at_once() -> None:
    async def story() -> None:
        store = Store()
        await replica(store, "one").acquire()
        began = now()
        await replica(store, "one").acquire()
        assert now() == began

    run_in_virtual_time(story())


def test_other_writers_words_on_the_lease_stay() -> None:
    async def story() -> None:
        store = Store()
        one = replica(store, "one")
        await one.acquire()
        assert store.stored is not None
        store.stored["metadata"]["labels"] = {"team": "search"}
        acquired = store.stored["spec"]["acquireTime"]
        task = asyncio.create_task(one.keep())
        await asyncio.sleep(10)
        assert store.stored["metadata"]["labels"] == {"team": "search"}
        assert store.stored["spec"]["acquireTime"] == acquired
        await end(task)

    run_in_virtual_time(story())


def test_who_yields_leaves_a_free_lease_to_others_for_its_whole_duration() -> None:
    async def main() -> None:
        store = Store()
        store.stored = {"metadata": {"resourceVersion": "1", "ownerReferences": ["kept"]}}
        patient = Leadership(store.by("patient"), KEY, "patient", LeaseTimes(), lambda: True)
        began = asyncio.get_running_loop().time()
        await patient.acquire()
        assert LeaseTimes().duration <= asyncio.get_running_loop().time() - began <= LeaseTimes().duration + 4
        assert store.stored["metadata"]["ownerReferences"] == ["kept"]

    run_in_virtual_time(main())


def test_who_does_not_yield_takes_what_was_given_back_at_once() -> None:
    async def main() -> None:
        store = Store()
        first = Leadership(store.by("first"), KEY, "first", LeaseTimes())
        await first.acquire()
        await first.release()
        patient = asyncio.create_task(
            Leadership(store.by("patient"), KEY, "patient", LeaseTimes(), lambda: True).acquire()
        )
        await asyncio.sleep(3)
        second = Leadership(store.by("second"), KEY, "second", LeaseTimes())
        await second.acquire()
        assert second.is_held
        assert not patient.done()
        patient.cancel()

    run_in_virtual_time(main())
