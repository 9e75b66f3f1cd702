"""A pool under test: brought up by the command that users type, asked through its HTTP door."""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil


@dataclass(frozen=True)
class Reply:
    """One answer. `document` is the JSON body, whatever the status."""

    status: int
    seconds: float
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Pass:
    """Answers to all texts, one after the other, and the CPU that the door spent on each."""

    replies: tuple[Reply, ...]
    cpu_millis: float


class Door:
    """The door of a running pool, over one kept connection. `pid` is the router's process."""

    def __init__(self, url: str, pid: int) -> None:
        self._address = urlsplit(url).netloc
        self._process = psutil.Process(pid)

    def ask(self, path: str, texts: Iterable[str], **fields: object) -> Pass:
        """POST every text to `path`, with `fields` in the body."""
        before = self._cpu_seconds()
        with closing(http.client.HTTPConnection(self._address, timeout=60)) as connection:
            replies = tuple(self._one(connection, path, {"text": text, **fields}) for text in texts)
        return Pass(replies, (self._cpu_seconds() - before) / len(replies) * 1000)

    def _one(self, connection: http.client.HTTPConnection, path: str, body: Mapping[str, object]) -> Reply:
        began = time.perf_counter()
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        return Reply(answer.status, time.perf_counter() - began, json.loads(content))

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def served(folder: Path) -> Iterator[Door]:
    """The pool of `folder`'s YAML while the block runs. Raises RuntimeError where a member is not ready."""
    with tempfile.TemporaryDirectory(prefix="fs-clinc-") as state:
        try:
            _fastserve("up", "-f", str(folder), "--detach", "--port", "0", "--state", state)
            pool = json.loads(_fastserve("status", "--json", "--state", state))["pools"][0]
            absent = [row["subModel"] for row in pool["members"] if row["phase"] != "Ready"]
            if absent:
                raise RuntimeError(f"not ready: {', '.join(absent)}")
            yield Door(pool["url"], _door_pid(Path(state)))
        finally:
            _fastserve("down", "--state", state)


def _door_pid(state: Path) -> int:
    """The process of the router that has no Triton beside it."""
    session = json.loads((state / "session.json").read_text())
    return int(next(process["pid"] for process in session["processes"] if process["kind"] == "Door"))


def _fastserve(*words: str) -> str:
    command = [str(Path(sys.executable).parent / "fastserve"), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
