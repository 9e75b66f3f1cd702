"""The Unix socket at which a restart of Triton is asked for: ``restart WHY`` and a newline, answered by one
line of JSON when it is done. Only the own user may ask. Standard library only; it waits for nobody."""

import json
import os
import selectors
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_ASKING = 8
MOST_BYTES = 1024
COMMAND = "restart"


@dataclass(eq=False)
class _Caller:
    """Who is connected, and what was said so far."""

    connection: socket.socket
    said: bytes = b""


class RestartDoor:
    """Reads what callers say, by way of the selector of whoever runs it. `asked` gets the reason, and says
    whether there will be an answer."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, asked: Callable[[str], bool]) -> None:
        self._path = path
        self._selector = selector
        self._asked = asked
        self._talking: list[_Caller] = []
        self._waiting: list[_Caller] = []

    def open(self) -> None:
        """Raises OSError where the socket cannot be had."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(self._path))
        finally:
            os.umask(before)
        listener.listen(MOST_ASKING)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener))

    def close(self) -> None:
        """Nobody can ask any more; who waits sees the end of the stream."""
        self._path.unlink(missing_ok=True)
        for caller in (*self._talking, *self._waiting):
            caller.connection.close()

    def answer(self, document: Mapping[str, object]) -> None:
        """Tell everybody who waits."""
        for caller in self._waiting:
            _tell(caller, document)
        self._waiting = []

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if _uid_of(connection) != os.geteuid():
            connection.close()
            return
        connection.setblocking(False)
        if len(self._talking) >= MOST_ASKING:
            self._leave(self._talking[0]).connection.close()
        caller = _Caller(connection)
        self._talking.append(caller)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(caller))

    def _read(self, caller: _Caller) -> None:
        try:
            part = caller.connection.recv(MOST_BYTES)
        except OSError:
            part = b""
        caller.said += part
        if b"\n" in caller.said:
            self._take(self._leave(caller))
        elif not part or len(caller.said) > MOST_BYTES:
            self._leave(caller).connection.close()

    def _leave(self, caller: _Caller) -> _Caller:
        """Listen to this one no more."""
        self._talking.remove(caller)
        self._selector.unregister(caller.connection)
        return caller

    def _take(self, caller: _Caller) -> None:
        word, _, why = caller.said.partition(b"\n")[0].decode("utf-8", "replace").strip().partition(" ")
        if word != COMMAND or not why:
            _tell(caller, {"error": f"this socket takes: {COMMAND} WHY"})
        elif self._asked(why):
            self._waiting.append(caller)
        else:
            _tell(caller, {"error": "Triton is ending"})


def _uid_of(connection: socket.socket) -> int:
    """Who is at the other end of a Unix socket, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _tell(caller: _Caller, document: Mapping[str, object]) -> None:
    with caller.connection, suppress(OSError):
        caller.connection.sendall(f"{json.dumps(document)}\n".encode())
