"""A request that its engine dies of: asked once more at the most, on one other replica, whatever the budgets
would allow."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import repeat

import numpy as np
import pytest

from fake_replicas import OUTPUT, Place
from fastserve.errors import BackendAway, BackendError, BackendLost, BackendOverloaded, BackendUnavailable
from fastserve.router.answers import Refusal
from fastserve.router.asking import Ask, Asking
from fastserve.router.caller import ANYONE
from fastserve.router.calling import Calling, Missed
from fastserve.router.encoder import EncoderService
from fastserve.router.hedging import MIN_SAMPLES
from fastserve.router.metrics import Metrics
from fastserve.router.outliers import STREAK
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.replicas import MemberCall
from fastserve.router.selection import Prototypes
from fastserve.router.table import parse_table
from virtual_time import run_in_virtual_time

TARGET = {
    "digest": "0" * 64,
    "modelName": "m-00000000",
    "version": "7",
    "storageUri": "file:///none",
    "engine": {"devices": ["cpu"], "python": "python3"},
    "files": {"config.pbtxt": "max_batch_size: 64\n"},
}
TABLE = {
    "pool": "pool",
    "task": "TextClassification",
    "method": "WeightedSum",
    "selection": {"topK": 2, "minScore": "0.1"},
    "deadlineMillis": 5000,
    "minMembers": 1,
    "limits": {},
    "resilience": {"retries": {"maxShare": "0.2"}, "hedging": {"enabled": True, "maxShare": "0.1"}},
}


class EvenEncoder:
    """Every text is as near to each sub-model."""

    digest = "even"

    def encode(self, texts: list[str], max_tokens: int) -> np.ndarray:
        return np.full((len(texts), 4), 0.5, np.float32)


def deadly(seconds: float = 0.01, error: BackendError | None = None) -> Place:
    """A replica whose engine dies of each request; it is back at once, as if another one was never asked."""
    return Place(repeat(error or BackendLost("Stub process is not healthy")), seconds)


def pool_of(members: dict[str, list[Place]]) -> Pool:
    peers = Peers("me", lambda member, ready: None)
    peers.by_member = dict(members)
    pool = Pool("pool", None, peers)
    documents = [
        {"name": name, "meaning": {"examples": [name], "digest": "0" * 64}, "target": TARGET}
        for name in members
    ]
    pool.snapshot = parse_table(json.dumps({**TABLE, "members": documents}))
    one = np.full((1, 4), 0.5, np.float32)
    pool.prototypes = Prototypes.of(dict.fromkeys(members, one))
    return pool


def run(story: Callable[[Pool], Awaitable[None]], members: dict[str, list[Place]]) -> int:
    """How often anybody was asked."""

    async def told() -> None:
        await story(pool_of(members))

    run_in_virtual_time(told())
    return sum(place.asked for places in members.values() for place in places)


def call() -> MemberCall:
    return MemberCall("m", (b"text",), asyncio.get_running_loop().time() + 5.0, "id", (), ANYONE)


async def ask(pool: Pool, direct: str | None = None) -> str:
    asking = Asking(pool, EncoderService(EvenEncoder()), Metrics())
    deadline = asyncio.get_running_loop().time() + 5.0
    try:
        await asking.answer(Ask(("text",), deadline, "id", ANYONE, direct=direct))
    except Refusal as refusal:
        return refusal.reason
    return "Answered"


def test_one_that_kills_all_is_asked_twice_where_one_sub_model_is_named() -> None:
    async def story(pool: Pool) -> None:
        assert await ask(pool, "m") == "MemberLost"

    assert run(story, {"m": [deadly() for _ in range(6)]}) == 2


def test_one_that_kills_all_is_asked_of_the_chosen_ones_and_once_more_in_all() -> None:
    async def story(pool: Pool) -> None:
        assert await ask(pool) == "MemberLost"

    assert run(story, {name: [deadly() for _ in range(4)] for name in ("a", "b", "c")}) == 3


def test_one_that_kills_is_not_asked_again_at_the_only_replica() -> None:
    async def story(pool: Pool) -> None:
        calling = Calling(pool, Metrics())
        missed = await calling.call(call())
        assert isinstance(missed, Missed)
        assert await calling.once_more(missed, call()) is missed

    assert run(story, {"m": [deadly()]}) == 1


def test_a_hedge_was_the_one_more_time() -> None:
    async def story(pool: Pool) -> None:
        calling = Calling(pool, Metrics())
        for _ in range(MIN_SAMPLES):
            calling._memory("m").latencies.add(0.001)
        missed = await calling.call(call())
        assert isinstance(missed, Missed)

    assert run(story, {"m": [deadly(0.05) for _ in range(5)]}) == 2


def test_what_was_lost_twice_at_one_replica_is_asked_nowhere_else() -> None:
    """By the version on trial there, and by the stable one."""
    twice = BackendLost("both died", again=True)

    async def story(pool: Pool) -> None:
        assert await ask(pool, "m") == "MemberLost"

    assert run(story, {"m": [deadly(error=twice) for _ in range(5)]}) == 1


@pytest.mark.parametrize("first", [BackendOverloaded("full"), BackendAway("it drains")])
def test_what_was_never_begun_counts_for_nothing(first: BackendError) -> None:
    async def story(pool: Pool) -> None:
        said = await Calling(pool, Metrics()).call(call())
        assert said is OUTPUT

    busy = [deadly(error=first), Place()]
    busy[1].in_flight = 5

    async def less_busy(pool: Pool) -> None:
        asyncio.get_running_loop().call_later(0.005, setattr, busy[1], "in_flight", 0)
        await story(pool)

    assert run(less_busy, {"m": busy}) == 2


def test_one_that_says_that_it_is_away_is_not_left_out_when_it_is_back() -> None:
    away = deadly(error=BackendAway("it exchanges its version"))

    async def story(pool: Pool) -> None:
        calling = Calling(pool, Metrics())
        for _ in range(2 * STREAK):
            await calling.call(call())
        assert away.conduct.ejected is None
        assert away.conduct.fault(asyncio.get_running_loop().time(), None) is None

    run(story, {"m": [away, deadly(error=BackendUnavailable("gone"))]})
