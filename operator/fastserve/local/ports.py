"""Ports of this machine's loopback."""

import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from fastserve.errors import LocalError

LOOPBACK = "127.0.0.1"
LAST_PORT = 65535


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


def door_ports(first: int, count: int) -> list[int]:
    """Ports for `count` doors, `first` and those after it; 0 takes any free ones. Raises LocalError."""
    if first == 0:
        return free_ports(count)
    if first + count - 1 > LAST_PORT:
        raise LocalError(
            f"{count} pools need ports {first} and up, and {LAST_PORT} is the last. Lower --port."
        )
    ports = list(range(first, first + count))
    for port in ports:
        _check_free(port)
    return ports


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            what = "is taken" if error.errno == errno.EADDRINUSE else "cannot be used"
            raise LocalError(
                f"Port {port} of {LOOPBACK} {what} ({error.strerror})."
                " Choose another with --port, or 0 for any free one."
            ) from error
