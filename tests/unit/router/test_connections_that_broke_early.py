"""A connection that breaks between its being made and its first request."""

import asyncio
from collections.abc import Callable

import pytest

from fastserve.errors import BackendUnavailable
from fastserve.router.upstream import Upstream
from virtual_time import run_in_virtual_time


class Broken(asyncio.Transport):
    """What is written to a broken transport is thrown away without a word."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def abort(self) -> None: ...


def test_a_call_on_a_connection_that_has_just_broken_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells of it once more: the call would wait until its deadline."""

    async def story() -> None:
        loop = asyncio.get_running_loop()

        async def connected(
            make: Callable[[], asyncio.Protocol], *_: object
        ) -> tuple[asyncio.Transport, asyncio.Protocol]:
            protocol, transport = make(), Broken()
            protocol.connection_made(transport)
            protocol.connection_lost(None)
            return transport, protocol

        monkeypatch.setattr(loop, "create_connection", connected)
        with pytest.raises(BackendUnavailable, match="broke"):
            await Upstream("127.0.0.1:1").get("/readyz", 30.0)
        assert loop.time() == 0.0

    run_in_virtual_time(story())
