import asyncio

import pytest

from fastserve.cluster.leasing import LeaseLost
from fastserve.controller.racing import first_of
from fastserve.controller.watches import WatchesHang


async def loses() -> None:
    await asyncio.sleep(0)
    raise LeaseLost("another one acts")


async def hangs() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise WatchesHang("they go on") from None


async def test_what_could_not_be_ended_outweighs_why_it_was_to_end() -> None:
    with pytest.raises(WatchesHang):
        await first_of(loses(), hangs())


async def test_what_ends_the_others_is_raised() -> None:
    ended = []

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("yes")

    with pytest.raises(LeaseLost):
        await first_of(goes_on(), loses())
    assert ended == ["yes"]
