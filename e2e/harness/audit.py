"""Who wrote what, by the API server's own audit log."""

import json
import os
from collections.abc import Iterator
from typing import IO, Any

from harness.target import state_folder

WRITES = ("create", "update", "patch", "delete", "deletecollection")


class Audit:
    """Requests from now on. The log is rotated; what is open is read to its end, and then the new file."""

    def __init__(self) -> None:
        self._path = state_folder() / "logs" / "audit.log"
        self._file: IO[str] = self._path.open()
        self._file.seek(0, 2)

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def writes(self, user: str, namespace: str) -> list[str]:
        """What `user` wrote in a namespace since the last call, ``verb resource/subresource name``."""
        return [
            _told(event)
            for event in self._events()
            if event["verb"] in WRITES
            and event["user"]["username"] == user
            and event.get("objectRef", {}).get("namespace") == namespace
            and "dryRun=" not in event["requestURI"]
        ]

    def _events(self) -> Iterator[dict[str, Any]]:
        yield from self._lines()
        with self._path.open() as current:
            if _number(current) != _number(self._file):
                self._file.close()
                self._file = self._path.open()
                yield from self._lines()

    def _lines(self) -> Iterator[dict[str, Any]]:
        while line := self._file.readline():
            if not line.endswith("\n"):  # it is being written
                self._file.seek(self._file.tell() - len(line.encode()))
                return
            yield json.loads(line)


def _told(event: dict[str, Any]) -> str:
    thing = event.get("objectRef", {})
    kind = "/".join(filter(None, (thing.get("resource"), thing.get("subresource"))))
    return f"{event['verb']} {kind} {thing.get('name', '')}"


def _number(file: IO[str]) -> int:
    return os.fstat(file.fileno()).st_ino
