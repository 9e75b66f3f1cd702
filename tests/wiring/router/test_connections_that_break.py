"""A connection that breaks with a request inside, and one that is refused."""

import asyncio

import pytest

from fastserve.errors import BackendLost, BackendUnavailable
from fastserve.router.upstream import Upstream


@pytest.mark.parametrize("reused", [False, True])
async def test_who_goes_with_a_request_inside_is_told_from_who_was_never_there(reused: bool) -> None:
    """The one may be the request's doing, and the other is not; a kept connection hides which it was."""
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reused:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        server.close()
        writer.transport.abort()
        asked.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = Upstream(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    if reused:
        assert (await upstream.get("/", 5.0)).status == 200
    with pytest.raises(BackendLost):
        await upstream.get("/", 5.0)
    await asked.wait()
    with pytest.raises(BackendUnavailable) as absent:
        await upstream.get("/", 5.0)
    assert not isinstance(absent.value, BackendLost)
