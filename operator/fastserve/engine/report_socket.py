"""The engine's Unix socket: whoever connects reads one JSON document (`EngineReport`) and the end of the
stream. Standard library only: it runs in Triton's Python stub."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fastserve.api.engine import EngineReport
from fastserve.errors import EngineError

SEND_SECONDS = 2.0
"""A reader that does not read must not keep the others waiting for longer."""


class ReportSocket:
    """Answers with what `report` returns at that moment, from a thread of its own."""

    def __init__(self, path: Path, report: Callable[[], EngineReport]) -> None:
        """Listen on `path`. Raises EngineError where that cannot be."""
        self._path = path
        self._report = report
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        try:
            self._listener.bind(os.fspath(path))
        except OSError as error:
            self._listener.close()
            raise EngineError(f"cannot listen on {path}: {error}") from error
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve, name="engine-report", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket's file; idempotent."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                reader, _ = self._listener.accept()
            except OSError:
                return
            with reader, suppress(OSError):
                reader.settimeout(SEND_SECONDS)
                reader.sendall(self._report().to_json().encode())
