"""Kills a rank, a Triton and a router of a running pool, one after another, under a steady load.

For each: how many requests failed and in which window, how many were answered without the killed member,
when the member answered again by itself, and the limit (its measured load time + 5 s). At the end the pool
is taken down and every process that it ever had must be gone.

Needs the trained models of examples/01-news (`make demo` trains them).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
NEWS = ROOT / "examples" / "01-news"
RESERVE_SECONDS = 5.0
MEMBER = "science"
"""The member that is hurt: it has two ranks."""


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent, which member knows its answer, what came back (0: no HTTP answer),
    whether members were missing, who answered."""

    sent: float
    seconds: float
    about: str
    status: int
    degraded: bool
    members: str


@dataclass(frozen=True)
class Row:
    """What one fault did. Seconds count from the kill."""

    fault: str
    requests: int
    failed: int
    """Of the requests that the killed member should answer."""
    failed_neighbours: int
    """Of all others."""
    failed_statuses: str
    degraded: int
    last_failure_seconds: float
    longest_request_seconds: float
    recovered_seconds: float
    limit_seconds: float


class Load:
    """Open-loop load: one request each `1 / rate` seconds, whatever became of those before."""

    def __init__(self, url: str, questions: list[dict[str, str]], rate: float) -> None:
        self._url, self._questions, self._rate = url, questions, rate
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: list[Answer] = []

    def run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._stop.wait(max(0.0, began + number / self._rate - time.monotonic())):
            question = self._questions[number % len(self._questions)]
            thread = threading.Thread(target=self._one, args=(question,))
            thread.start()
            self._threads.append(thread)
            number += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _one(self, question: dict[str, str]) -> None:
        sent = time.monotonic()
        status, degraded, members = 0, False, ""
        request = urllib.request.Request(
            f"{self._url}/v1/predict",
            json.dumps({"text": question["text"]}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status = answer.status
                document = json.load(answer)
                degraded = bool(document["degraded"])
                members = ",".join(m["name"] for m in document["members"] if m["status"] == "answered")
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        seconds = time.monotonic() - sent
        self.answers.append(Answer(sent, seconds, question["subModel"], status, degraded, members))


class Pool:
    """The pool under test, by the command that users type."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def up(self) -> None:
        self._run("up", "-f", str(NEWS / "pool.yaml"), "--detach", "--port", "0")

    def down(self) -> None:
        self._run("down")

    def overview(self) -> dict[str, Any]:
        return dict(json.loads(self._run("status", "--json"))["pools"][0])

    def member(self) -> dict[str, Any]:
        return next(m for m in self.overview()["members"] if m["subModel"] == MEMBER)

    def session(self) -> dict[str, Any]:
        return dict(json.loads((self._state / "session.json").read_text()))

    def pid(self, name: str) -> int:
        return int(next(p["pid"] for p in self.session()["processes"] if p["name"] == name))

    def _run(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "fastserve"), *arguments, "--state", str(self._state)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def everything(pool: Pool) -> set[psutil.Process]:
    """The supervisor and all that descends from it."""
    supervisor = psutil.Process(pool.session()["pid"])
    return {supervisor, *supervisor.children(recursive=True)}


def wait_ready(pool: Pool, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if pool.member()["phase"] == "Ready":
            return
        time.sleep(0.1)
    raise TimeoutError(f"{MEMBER} did not come back within {seconds} s: {pool.member()}")


@contextmanager
def load_on(url: str, rate: float) -> Iterator[Load]:
    questions = [json.loads(line) for line in (NEWS / "questions.jsonl").read_text().splitlines()]
    own = [q for q in questions if q.get("subModel") == MEMBER]
    others = [q for q in questions if q.get("subModel") not in (MEMBER, None)]
    load = Load(url, [q for pair in zip(own, others, strict=False) for q in pair], rate)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join()


def recovery(load: Load, killed: float, seconds: float) -> float:
    """Seconds until the killed member answered again, and ten requests in a row with it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        own = (a for a in load.answers if a.sent > killed and a.about == MEMBER)
        after = sorted(own, key=lambda a: a.sent)
        bad = [a.sent for a in after if not (a.status == 200 and MEMBER in a.members.split(","))]
        good = [a.sent for a in after if not bad or a.sent > bad[-1]]
        if bad and len(good) >= 10:
            return good[0] - killed
        time.sleep(0.05)
    return float("inf")


def hurt(pool: Pool, fault: str, limit: float, rate: float) -> Row:
    """Kill the process under load, and see. `limit` is the member's load time and the reserve, seconds."""
    pid = _victim(pool, fault)
    with load_on(pool.overview()["url"], rate) as load:
        time.sleep(2)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        recovered = recovery(load, killed, 60)
    wait_ready(pool, 60)
    after = [a for a in load.answers if a.sent > killed - 1]
    failed = [a for a in after if a.status != 200]
    return Row(
        fault=fault,
        requests=len(load.answers),
        failed=sum(a.about == MEMBER for a in failed),
        failed_neighbours=sum(a.about != MEMBER for a in failed),
        failed_statuses=" ".join(sorted({str(a.status) for a in failed})),
        degraded=sum(a.degraded for a in after),
        last_failure_seconds=round(max((a.sent + a.seconds - killed for a in failed), default=0.0), 2),
        longest_request_seconds=round(max(a.seconds for a in after), 2),
        recovered_seconds=round(recovered, 2),
        limit_seconds=round(limit, 2),
    )


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rate", type=float, default=20.0, help="requests per second")
    arguments.add_argument("--rounds", type=int, default=3, help="how often each fault is tried")
    given = arguments.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="fastserve-faults-") as folder:
        pool = Pool(Path(folder))
        pool.up()
        try:
            seen = everything(pool)
            limit = float(pool.member()["loadSeconds"]) + RESERVE_SECONDS
            for _ in range(given.rounds):
                for fault in (f"rank 1 of {MEMBER}", f"Triton of {MEMBER}", f"router of {MEMBER}"):
                    rows.append(hurt(pool, fault, limit, given.rate))
                    seen |= everything(pool)
        finally:
            pool.down()
        left = [process for process in seen if process.is_running() and process.status() != "zombie"]
    report(rows, left)
    return 1 if left or any(row.recovered_seconds > row.limit_seconds for row in rows) else 0


def _victim(pool: Pool, fault: str) -> int:
    if fault.startswith("rank"):
        return int(pool.member()["ranks"][1]["pid"])
    if fault.startswith("router"):
        return pool.pid(f"{MEMBER}-0-router")
    (server,) = psutil.Process(pool.pid(f"{MEMBER}-0-triton")).children()  # below its warden
    return server.pid


def report(rows: list[Row], left: list[psutil.Process]) -> None:
    """Print the table and write bench/results/faults.json."""
    heads = (
        "FAULT",
        "SENT",
        "FAILED",
        "OTHERS",
        "STATUS",
        "DEGRADED",
        "LAST S",
        "LONGEST S",
        "BACK S",
        "LIMIT S",
    )
    table = Table(*heads, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    console = Console()
    console.print(table)
    console.print(f"processes left after `fastserve down`: {len(left)}")
    results = ROOT / "bench" / "results" / "faults.json"
    results.parent.mkdir(exist_ok=True)
    document = {"rows": [asdict(row) for row in rows], "processesLeft": len(left)}
    results.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
