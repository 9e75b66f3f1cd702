"""Ports of this machine's loopback."""

import socket
from collections.abc import Iterable
from contextlib import ExitStack

from fastserve.errors import LocalError

LOOPBACK = "127.0.0.1"


def free_ports(count: int, but: Iterable[int] = ()) -> list[int]:
    """`count` different ports that nobody listens on now."""
    taken: set[int] = set(but)
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
            if port not in taken:
                ports.append(port)
    return ports


def check_free(port: int) -> None:
    """Raise LocalError where somebody listens on `port` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LocalError(
                f"Port {port} of {LOOPBACK} is taken ({error.strerror})."
                " Choose another with --port, or 0 for any free one."
            ) from error
