"""Both sides of HTTP on the loop that the router process runs on; its transports are no asyncio.Transport."""

import asyncio

import uvloop

from fastserve.router.answers import Answer
from fastserve.router.protocol import HttpServer, Request
from fastserve.router.upstream import Upstream


async def answered() -> tuple[int, bytes]:
    async def echo(request: Request) -> Answer:
        return Answer(200, request.body)

    server = HttpServer(echo, lambda _: 1024)
    listener = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
    upstream = Upstream(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    try:
        replies = [await upstream.post("/", b"", body, 5.0) for body in (b"one", b"two")]
        return replies[-1].status, b" ".join(reply.body for reply in replies)
    finally:
        upstream.close()
        listener.close()


def test_client_and_server_speak_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(answered()) == (200, b"one two")
