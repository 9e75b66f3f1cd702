"""The data port's listener: with certificates it is exchanged while the socket stays.

A new server over the same socket takes new connections before the old one stops to, and connections that are
open go on as they are: nobody is turned away when a certificate is renewed.
"""

import asyncio
import socket
from collections.abc import Callable

from fastserve.router.certificates import Material

BACKLOG = 1024
HANDSHAKE_SECONDS = 5.0
"""Who is slower is cut off. It is no HTTP connection yet, so nothing else counts it."""
SHUTDOWN_SECONDS = 2.0
"""How long a caller may take to say goodbye as TLS has it."""


RETIRING_SECONDS = 1.0
"""Until the old server is closed. asyncio drops what a server accepted in its last turn, so it accepts no
more before; uvloop's accepts until then."""


class Listener:
    """Accepts connections of one listening socket; owns it."""

    def __init__(self, sock: socket.socket, connection: Callable[[], asyncio.Protocol]) -> None:
        self._sock = sock
        self._connection = connection
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Serve without TLS."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._connection, sock=self._sock.dup(), backlog=BACKLOG)
        self._servers.append(server)

    async def secure(self, material: Material) -> None:
        """Serve with TLS from now on; connections that are open stay."""
        loop, retiring = asyncio.get_running_loop(), tuple(self._servers)
        server = await loop.create_server(
            self._connection,
            sock=self._sock.dup(),
            backlog=BACKLOG,
            ssl=material.server,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        self._servers.append(server)
        for old in retiring:
            for sock in old.sockets:
                loop.remove_reader(sock.fileno())
            loop.call_later(RETIRING_SECONDS, self._retire, old)

    def close(self) -> None:
        while self._servers:
            self._servers.pop().close()
        self._sock.close()

    def _retire(self, server: asyncio.Server) -> None:
        if server in self._servers:
            self._servers.remove(server)
            server.close()
