"""Requests for a sub-model that sleeps: held until it is awake, and then no faster than it takes them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import chain, repeat

import pytest

from fake_replicas import OUTPUT, Place
from fastserve.errors import BackendOverloaded, BackendTimeout, BackendUnavailable
from fastserve.router.caller import ANYONE
from fastserve.router.calling import Calling, Missed
from fastserve.router.metrics import Metrics
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.replicas import MemberCall, MemberOutput
from fastserve.router.retrying import AT_LEAST
from fastserve.router.table import parse_table
from unit.router.test_asking_one_by_name import MEANING, TABLE, TARGET
from virtual_time import run_in_virtual_time

ROOM = 4


@dataclass
class Small(Place):
    """Takes so many at once, and tells all others that it is full."""

    places: int = 8
    most: int = 0
    refused: int = 0

    async def infer(self, call: MemberCall) -> MemberOutput:
        if self.in_flight >= self.places:
            self.refused += 1
            raise BackendOverloaded("full", 1.0)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            return await super().infer(call)
        finally:
            self.in_flight -= 1


@dataclass
class Night:
    """A pool whose one sub-model sleeps, and its only place."""

    pool: Pool
    calling: Calling
    place: Place

    def table(self, replicas: int | None, room: int = 256, places: int = 64) -> None:
        """Of None it is not scaled."""
        staff = {} if replicas is None else {"staff": {"least": 0, "most": 2, "replicas": replicas}}
        member = {"name": "m", "meaning": MEANING, "target": TARGET, "maxConcurrency": places, **staff}
        document = {**TABLE, "limits": {"maxQueue": room}, "members": [member]}
        self.pool.snapshot = parse_table(json.dumps(document))
        self.take()

    def take(self) -> None:
        snapshot = self.pool.table()
        now = asyncio.get_running_loop().time()
        self.pool.waking.take(snapshot.members, snapshot.table.limits.max_queue, now)

    def call(self, seconds: float = 60.0) -> "asyncio.Task[MemberOutput | Missed]":
        deadline = asyncio.get_running_loop().time() + seconds
        one = MemberCall("m", (b"text",), deadline, "id", (), ANYONE)
        return asyncio.create_task(self.calling.call(one))

    @property
    def held(self) -> int:
        return self.pool.meter.door("m").held


def at_night(story: Callable[[Night], Awaitable[None]], place: Place | None = None) -> Place:
    place = place or Place()
    place.ready = False

    async def run() -> None:
        peers = Peers("me", lambda member, ready: None)
        peers.by_member = {"m": [place]}
        pool = Pool("pool", None, peers)
        night = Night(pool, Calling(pool, Metrics()), place)
        night.table(0)
        await story(night)
        assert night.held == 0

    run_in_virtual_time(run())
    return place


def test_a_request_waits_until_one_is_ready_and_its_answer_says_so() -> None:
    async def story(night: Night) -> None:
        asked = night.call()
        await asyncio.sleep(10.0)
        assert (night.held, night.place.asked) == (1, 0)
        night.table(1)
        await asyncio.sleep(5.0)
        assert night.held == 1
        night.place.ready = True
        said = await asked
        assert isinstance(said, MemberOutput)
        assert said.woken
        assert asyncio.get_running_loop().time() < 15.2

        later = await night.call()
        assert isinstance(later, MemberOutput)
        assert not later.woken

    at_night(story)


def test_until_the_deadline_and_no_longer() -> None:
    async def story(night: Night) -> None:
        said = await night.call(seconds=3.0)
        assert isinstance(said, Missed)
        assert isinstance(said.error, BackendTimeout)
        assert "m slept and is being woken" in str(said.error)
        assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.01)
        assert night.place.conduct.ejected is None

    assert at_night(story).asked == 0


def test_no_more_are_held_than_there_is_room_for_and_the_others_are_told_when_to_come_again() -> None:
    async def story(night: Night) -> None:
        night.table(0, ROOM)
        held = [night.call() for _ in range(ROOM)]
        await asyncio.sleep(1.0)
        said = await night.call()
        assert isinstance(said, Missed)
        assert isinstance(said.error, BackendOverloaded)
        assert said.error.retry_after == 30.0
        assert "limits.maxQueue is 4" in str(said.error)
        night.table(1, ROOM)
        await asyncio.sleep(12.0)
        night.place.ready = True
        assert all(isinstance(one, MemberOutput) for one in await asyncio.gather(*held))

        night.place.ready = False
        night.table(0, ROOM)
        held = [night.call() for _ in range(ROOM)]
        await asyncio.sleep(0.0)
        said = await night.call()
        assert isinstance(said, Missed)
        assert isinstance(said.error, BackendOverloaded)
        assert said.error.retry_after == pytest.approx(12.0, abs=0.1)
        for one in held:
            one.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    at_night(story)


def test_a_caller_that_goes_is_held_no_more() -> None:
    async def story(night: Night) -> None:
        asked = [night.call() for _ in range(2)]
        await asyncio.sleep(1.0)
        asked[0].cancel()
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert night.held == 1
        night.place.ready = True
        assert isinstance(await asked[1], MemberOutput)

    assert at_night(story).asked == 1


def test_those_who_were_held_go_on_as_fast_as_there_is_room_and_all_are_answered() -> None:
    async def story(night: Night) -> None:
        night.table(0, 256, places=8)
        asked = [night.call() for _ in range(200)]
        await asyncio.sleep(1.0)
        night.place.ready = True
        said = await asyncio.gather(*asked)
        assert sum(isinstance(one, MemberOutput) for one in said) == 200

    place = Small(seconds=0.1, places=8)
    at_night(story, place)
    assert (place.most, place.refused) == (8, 0)


def test_where_others_took_the_room_they_come_again_until_the_deadline() -> None:
    """The replica lets in fewer than the table allows, because other doors held some as well."""

    async def story(night: Night) -> None:
        night.table(0, 256, places=64)
        asked = [night.call() for _ in range(64)]
        late = night.call(seconds=1.05)
        await asyncio.sleep(1.0)
        night.place.ready = True
        said = await asyncio.gather(*asked)
        assert sum(isinstance(one, MemberOutput) for one in said) == 64
        missed = await late
        assert isinstance(missed, Missed)
        assert isinstance(missed.error, BackendTimeout)
        assert night.place.conduct.ejected is None

    place = Small(seconds=0.5, places=2)
    at_night(story, place)
    assert place.refused > 0


def test_coming_again_is_taken_from_no_budget() -> None:
    """Else those who ask after them would have none when a replica goes."""
    refusals = chain(repeat(BackendOverloaded("full"), 60), repeat(OUTPUT))

    async def story(night: Night) -> None:
        asked = [night.call() for _ in range(20)]
        await asyncio.sleep(1.0)
        night.place.ready = True
        assert all(isinstance(one, MemberOutput) for one in await asyncio.gather(*asked))
        now = asyncio.get_running_loop().time()
        one = MemberCall("m", (b"text",), now + 1.0, "id", (), ANYONE)
        assert all(night.calling.may_choose_again([one]) for _ in range(AT_LEAST))

    at_night(story, Place(refusals))


@pytest.mark.parametrize("replicas", [None, 1])
def test_one_that_is_down_though_it_was_awake_holds_nobody(replicas: int | None) -> None:
    async def story(night: Night) -> None:
        night.pool.waking.take({}, 256, 0.0)
        night.table(replicas)
        said = await night.call()
        assert isinstance(said, Missed)
        assert isinstance(said.error, BackendUnavailable)

    at_night(story)


def test_one_that_was_ready_for_a_moment_only_is_waited_for_still() -> None:
    async def story(night: Night) -> None:
        night.table(1)
        asked = night.call()
        await asyncio.sleep(5.0)
        night.place.ready = True
        assert isinstance(await asked, MemberOutput)
        night.place.ready = False
        again = night.call()
        await asyncio.sleep(5.0)
        assert night.held == 1
        night.place.ready = True
        assert isinstance(await again, MemberOutput)

    at_night(story)


def test_those_who_gave_up_leave_nothing_behind() -> None:
    async def story(night: Night) -> None:
        for _ in range(50):
            await night.call(seconds=0.1)
        (sleeper,) = night.pool.waking._sleepers.values()
        await asyncio.sleep(1.0)
        assert (len(sleeper.queue), sleeper.under_way, sleeper.watch) == (0, 0, None)

    at_night(story)


def test_one_that_is_removed_while_it_is_woken_is_waited_for_no_more() -> None:
    async def story(night: Night) -> None:
        asked = night.call()
        await asyncio.sleep(1.0)
        night.pool.waking.take({}, 256, 1.0)
        said = await asked
        assert isinstance(said, Missed)
        assert isinstance(said.error, BackendUnavailable)
        assert "removed" in str(said.error)

    at_night(story)


def test_one_that_sleeps_is_no_ready_one_and_keeps_its_labels() -> None:
    async def story(night: Night) -> None:
        night.place.ready, night.place.labels = True, ("a", "b")
        assert night.pool.labels("m") == ("a", "b")
        assert (night.pool.ready(), night.pool.asleep()) == ({"m"}, frozenset())
        night.place.ready, night.place.labels = False, ()
        assert (night.pool.ready(), night.pool.asleep()) == (frozenset(), {"m"})
        assert night.pool.labels("m") == ("a", "b")

    at_night(story)


@pytest.mark.parametrize(("least", "holds"), [(0, True), (1, False)])
async def test_a_door_that_comes_while_one_is_woken_holds_as_the_others_do(least: int, holds: bool) -> None:
    staff = {"staff": {"least": least, "most": 2, "replicas": 1}}
    member = {"name": "m", "meaning": MEANING, "target": TARGET, **staff}
    pool = Pool("pool", None, Peers("door", lambda _name, _ready: None))
    pool.snapshot = parse_table(json.dumps({**TABLE, "members": [member]}))
    pool.waking.take(pool.snapshot.members, ROOM, asyncio.get_running_loop().time())
    assert pool.waking.sleeps("m") is holds
