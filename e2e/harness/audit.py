"""Who wrote what, by the API server's own audit log."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from harness.target import state_folder

WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Write:
    """One write that the API server answered, at `at` (RFC 3339). `pod` is the one that asked, where a pod
    did; `replicas` is what was asked for, where it was a scale."""

    at: str
    user: str
    pod: str
    told: str
    code: int
    replicas: int | None


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
        return [one.told for one in self.all_writes(namespace) if one.user == user]

    def all_writes(self, namespace: str) -> list[Write]:
        """What anybody wrote in a namespace since the last call, those that were refused as well."""
        return [
            _write(event)
            for event in self._events()
            if event["verb"] in WRITES
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


def _write(event: dict[str, Any]) -> Write:
    asked = event.get("requestObject") or {}
    extra = event["user"].get("extra", {})
    return Write(
        at=event["requestReceivedTimestamp"],
        user=event["user"]["username"],
        pod="".join(extra.get("authentication.kubernetes.io/pod-name", ())),
        told=_told(event),
        code=int(event.get("responseStatus", {}).get("code", 0)),
        replicas=asked.get("spec", {}).get("replicas") if isinstance(asked, dict) else None,
    )


def _told(event: dict[str, Any]) -> str:
    thing = event.get("objectRef", {})
    kind = "/".join(filter(None, (thing.get("resource"), thing.get("subresource"))))
    return f"{event['verb']} {kind} {thing.get('name', '')}"


def _number(file: IO[str]) -> int:
    return os.fstat(file.fileno()).st_ino
