"""The way of one call: who is asked, and who is asked again, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat

import pytest

from fake_replicas import OUTPUT, Place
from fastserve.errors import BackendAway, BackendError, BackendOverloaded, BackendTimeout, BackendUnavailable
from fastserve.router.caller import ANYONE
from fastserve.router.calling import Calling, Missed
from fastserve.router.metrics import Metrics
from fastserve.router.outliers import BASE_SECONDS, TRIAL_PAUSE_SECONDS, Fault
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.replicas import MemberCall, MemberOutput
from fastserve.router.retrying import AT_LEAST
from virtual_time import run_in_virtual_time


def tell(story: Callable[[Calling], Awaitable[None]], *places: Place) -> None:
    async def run() -> None:
        peers = Peers("me", lambda member, ready: None)
        peers.by_member = {"m": list(places)}
        await story(Calling(Pool("pool", None, peers), Metrics()))

    run_in_virtual_time(run())


def call(seconds: float = 5.0, text: bytes = b"text") -> MemberCall:
    deadline = asyncio.get_running_loop().time() + seconds
    return MemberCall("m", (text,), deadline, "id", (), ANYONE)


def busy_first(*places: Place) -> None:
    """Make the first place the one that is picked."""
    for place in places[1:]:
        place.in_flight = 5


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (BackendUnavailable("gone"), (1, 1)),
        (BackendError("EngineFailed"), (1, 0)),
        (BackendTimeout("late"), (1, 0)),
    ],
)
def test_another_one_is_asked_where_the_first_is_gone(error: BackendError, asked: tuple[int, int]) -> None:
    first, second = Place(repeat(error)), Place()
    busy_first(first, second)

    async def story(calling: Calling) -> None:
        said = await calling.call(call())
        assert (said is OUTPUT) is (asked[1] == 1)

    tell(story, first, second)
    assert (first.asked, second.asked) == asked


@pytest.mark.parametrize(
    ("error", "answered"), [(BackendAway("given up"), 300), (BackendUnavailable("gone"), AT_LEAST)]
)
def test_what_was_never_begun_is_asked_elsewhere_without_a_budget(error: BackendError, answered: int) -> None:
    """Three hundred wait at one that freezes, and a fifth of what was asked lately is less."""
    frozen, other = Place(repeat(error)), Place()
    other.in_flight = 1000

    async def story(calling: Calling) -> None:
        said = await asyncio.gather(*(calling.call(call()) for _ in range(300)))
        assert said.count(OUTPUT) >= answered
        if answered < 300:
            assert said.count(OUTPUT) < 300

    tell(story, frozen, other)


@pytest.mark.parametrize(("others", "asked"), [(0, 1), (7, 0)])
def test_one_without_room_sends_elsewhere_only_where_it_is_less_busy(others: int, asked: int) -> None:
    full, other = Place(repeat(BackendOverloaded("full"))), Place(in_flight=0)
    full.in_flight = 5
    other.in_flight = 9

    async def story(calling: Calling) -> None:
        running = asyncio.create_task(calling.call(call()))
        await asyncio.sleep(0.001)
        other.in_flight = others
        await running

    tell(story, full, other)
    assert (full.asked, other.asked) == (1, asked)


def test_one_that_others_filled_costs_no_answers_where_another_one_has_room() -> None:
    full, other = Place(repeat(BackendOverloaded("full", 1.0))), Place()

    async def story(calling: Calling) -> None:
        said = [await calling.call(call()) for _ in range(300)]
        assert said == [OUTPUT] * 300

    tell(story, full, other)
    assert 1 <= full.asked <= 60


def test_the_own_triton_is_asked_where_a_peer_is_full_however_much_is_under_way_there() -> None:
    """Its count is all routers' calls, and a peer's only those from here."""
    full, own = Place(repeat(BackendOverloaded("full"))), Place()
    own.in_flight = 7

    async def run() -> None:
        peers = Peers("me", lambda member, ready: None)
        peers.by_member = {"m": [full]}
        own.member = "m"
        assert await Calling(Pool("pool", own, peers), Metrics()).call(call()) is OUTPUT

    run_in_virtual_time(run())
    assert (full.asked, own.asked) == (1, 1)


def test_a_trial_of_one_that_has_no_room_costs_nobody_an_answer() -> None:
    doubted, good = Place(repeat(BackendOverloaded("full"))), Place()
    good.in_flight = 3

    async def story(calling: Calling) -> None:
        doubted.conduct.eject(Fault.FAILS, 0.0, None)
        await asyncio.sleep(BASE_SECONDS + 1.0)
        for _ in range(50):
            assert await calling.call(call()) is OUTPUT

    tell(story, doubted, good)
    assert doubted.asked <= 3


def test_a_trial_that_is_never_answered_costs_one_caller_and_not_one_after_another() -> None:
    hangs, good = Place(repeat(BackendTimeout("late")), seconds=5.0), Place()

    async def story(calling: Calling) -> None:
        hangs.conduct.eject(Fault.FAILS, 0.0, None)
        await asyncio.sleep(BASE_SECONDS + 1.0)
        said = [await calling.call(call()) for _ in range(20)]
        assert said.count(OUTPUT) >= 19

    tell(story, hangs, good)


@pytest.mark.parametrize(("bad", "good"), [(1, 0), (8, 8), (32, 64), (1, 4)])
def test_texts_that_every_replica_refuses_leave_nobody_out(bad: int, good: int) -> None:
    """One caller's bad input must not cost the others their replicas."""
    places = [Picky() for _ in range(4)]

    async def ask(calling: Calling, text: bytes) -> None:
        said = await calling.call(call(text=text))
        if isinstance(said, Missed):
            await calling.once_more(said, call(text=text))

    async def story(calling: Calling) -> None:
        for _ in range(100):
            texts = [b"bad"] * bad + [b"good"] * good
            await asyncio.gather(*(ask(calling, text) for text in texts))

    tell(story, *places)
    assert [place.conduct.ejected for place in places] == [None] * 4


def test_one_whose_model_fails_what_others_answer_is_left_out() -> None:
    broken, others = Place(repeat(BackendError("EngineFailed"))), [Place() for _ in range(3)]

    async def story(calling: Calling) -> None:
        for _ in range(100):
            said = await calling.call(call())
            if isinstance(said, Missed):
                await calling.once_more(said, call())

    tell(story, broken, *others)
    assert broken.conduct.ejected
    assert broken.asked <= 20


class Picky(Place):
    """Refuses the text ``bad``, as its model cannot take it."""

    async def infer(self, call: MemberCall) -> MemberOutput:
        output = await super().infer(call)
        if call.texts == (b"bad",):
            raise BackendError("the text is bad")
        return output


def test_a_trial_that_ends_in_an_error_of_ours_is_over() -> None:
    def told() -> Iterator[MemberOutput]:
        raise RuntimeError("ours")
        yield OUTPUT

    doubted = Place(told())

    async def story(calling: Calling) -> None:
        doubted.conduct.eject(Fault.FAILS, 0.0, None)
        await asyncio.sleep(BASE_SECONDS + 1.0)
        with pytest.raises(RuntimeError, match="ours"):
            await calling.call(call())
        assert not doubted.conduct.on_trial
        assert doubted.conduct.trial_due(asyncio.get_running_loop().time() + TRIAL_PAUSE_SECONDS)

    tell(story, doubted)


def test_no_call_is_made_more_than_twice() -> None:
    places = [Place(repeat(BackendUnavailable("gone"))) for _ in range(5)]

    async def story(calling: Calling) -> None:
        missed = await calling.call(call())
        assert isinstance(missed, Missed)
        assert missed.again
        assert await calling.once_more(missed, call()) is missed

    tell(story, *places)
    assert sum(place.asked for place in places) == 2


def test_nothing_is_asked_again_after_the_deadline() -> None:
    first, second = Place(repeat(BackendUnavailable("gone")), seconds=1.0), Place()
    busy_first(first, second)

    async def story(calling: Calling) -> None:
        assert isinstance(await calling.call(call(seconds=0.5)), Missed)

    tell(story, first, second)
    assert second.asked == 0


def test_when_all_are_gone_a_fifth_more_is_asked_and_not_twice_as_much() -> None:
    places = [Place(repeat(BackendUnavailable("gone"))) for _ in range(2)]

    async def story(calling: Calling) -> None:
        for _ in range(500):
            await calling.call(call())

    tell(story, *places)
    assert 500 < sum(place.asked for place in places) <= 600


def test_one_on_trial_gets_one_call_at_a_time_and_its_failure_is_nobody_s() -> None:
    doubted, good = Place(repeat(BackendError("EngineFailed")), seconds=0.5), Place()

    async def story(calling: Calling) -> None:
        doubted.conduct.eject(Fault.FAILS, 0.0, None)
        await asyncio.sleep(BASE_SECONDS + 1.0)
        for trials in (1, 2, 3):  # until it is known that what it refuses is answered by others
            said = await asyncio.gather(*(calling.call(call()) for _ in range(10)))
            assert said == [OUTPUT] * 10
            assert doubted.asked == trials
            await asyncio.sleep(TRIAL_PAUSE_SECONDS)
        assert doubted.conduct.ejected
        assert doubted.conduct.ejected.fault is Fault.TRIAL
        assert doubted.conduct.ejected.times == 2

    tell(story, doubted, good)


def test_a_caller_that_goes_during_a_trial_leaves_room_for_the_next_one() -> None:
    doubted, good = Place(seconds=0.5), Place()

    async def story(calling: Calling) -> None:
        doubted.conduct.eject(Fault.FAILS, 0.0, None)
        await asyncio.sleep(BASE_SECONDS + 1.0)
        gone = asyncio.create_task(calling.call(call()))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        now = asyncio.get_running_loop().time()
        assert not doubted.conduct.trial_due(now)
        assert doubted.conduct.trial_due(now + TRIAL_PAUSE_SECONDS)

    tell(story, doubted, good)
