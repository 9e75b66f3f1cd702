"""A way to a server that counts what comes back over it, and can be slow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

CHUNK = 32 * 1024


class SlowWay:
    """Passes connections on to `endpoint`; `bytes_sent` counts what the server sent."""

    def __init__(self, endpoint: str) -> None:
        self._to = urlsplit(endpoint)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"{self._to.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seconds_per_chunk = 0.02
        self.bytes_sent = 0

    @contextmanager
    def running(self) -> Iterator["SlowWay"]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._to.hostname, self._to.port))
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                target.sendall(chunk)
                if counted:
                    self.bytes_sent += len(chunk)
                    time.sleep(self.seconds_per_chunk)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
