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


class Listener:
    """Accepts connections of one listening socket; owns it."""

    def __init__(self, sock: socket.socket, connection: Callable[[], asyncio.Protocol]) -> None:
        self._sock = sock
        self._connection = connection
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Serve without TLS."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=self._sock.dup(), backlog=BACKLOG)

    async def secure(self, material: Material) -> None:
        """Serve with TLS from now on; connections that are open stay."""
        loop, old = asyncio.get_running_loop(), self._server
        self._server = await loop.create_server(
            self._connection,
            sock=self._sock.dup(),
            backlog=BACKLOG,
            ssl=material.server,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        if old is not None:
            old.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._sock.close()
