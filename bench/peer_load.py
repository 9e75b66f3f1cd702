"""Closed-loop callers (h2load, a process of its own) and the CPU of whom they call."""

import resource
import statistics
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

import http_stack

MOST_REQUESTS = 60_000
"""In one cell."""


@dataclass(frozen=True)
class Call:
    """One request; a good answer is 200 and holds `expects` so many times."""

    path: str
    body: bytes
    expects: bytes
    times: int = 1
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


@dataclass(frozen=True)
class Processes:
    """Whose CPU is read, each with all its children: the asked one, who stands behind it, the upstream."""

    asked: int
    behind: tuple[int, ...]
    upstream: int

    def seconds(self) -> tuple[float, float, float]:
        behind = sum(tree_seconds(pid) for pid in self.behind)
        return tree_seconds(self.asked), behind, tree_seconds(self.upstream)


@dataclass(frozen=True)
class Cell:
    """What one spell of calls cost: CPU in milliseconds per request, p99 in milliseconds."""

    requests: int
    cpu: float
    behind_cpu: float
    upstream_cpu: float
    caller_cpu: float
    per_second: float
    p99: float


@dataclass(frozen=True)
class Callers:
    """`program` is h2load; its files lie in `folder`."""

    program: str
    folder: Path

    def spell(self, port: int, call: Call, connections: int, requests: int) -> tuple[float, list[float]]:
        """Seconds from the first request to the last answer, and milliseconds of each. Raises SystemExit
        where one was not answered with 200."""
        body, log = self.folder / "body", self.folder / "log"
        body.write_bytes(call.body)
        log.unlink(missing_ok=True)
        headers = [part for name, value in call.headers for part in ("-H", f"{name}: {value}")]
        counts = ["-n", str(requests), "-c", str(connections), "-t", "1"]
        address = f"http://127.0.0.1:{port}{call.path}"
        command = [self.program, "--h1", *counts, "-d", str(body), f"--log-file={log}", *headers, address]
        subprocess.run(command, check=True, capture_output=True)
        rows = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        good = [(began, micros) for began, status, micros in rows if status == 200]
        if len(good) != requests:
            raise SystemExit(
                f"{address}: of {requests} requests, by status: {Counter(row[1] for row in rows)}"
            )
        first, last = min(began for began, _ in good), max(began + micros for began, micros in good)
        return (last - first) / 1e6, [micros / 1000.0 for _, micros in good]

    def measured(self, port: int, call: Call, connections: int, requests: int, processes: Processes) -> Cell:
        before, callers = processes.seconds(), _children_seconds()
        seconds, millis = self.spell(port, call, connections, requests)
        after = processes.seconds()
        spent = [1000.0 * (b - a) / requests for a, b in zip(before, after, strict=True)]
        caller = 1000.0 * (_children_seconds() - callers) / requests
        p99 = statistics.quantiles(millis, n=100)[98]
        return Cell(requests, spent[0], spent[1], spent[2], caller, requests / seconds, p99)

    def requests_for(self, port: int, call: Call, connections: int, seconds: float) -> int:
        """How many take about so long; they also warm up what they call."""
        requests = max(100, connections)
        for share in (0.3, 1.0):
            took, _ = self.spell(port, call, connections, requests)
            requests = int(min(max(requests / took * seconds * share, 100), MOST_REQUESTS))
        return requests


def tree_seconds(pid: int) -> float:
    """CPU of a process and all its children, from the scheduler, in seconds."""
    process = psutil.Process(pid)
    return sum(http_stack.cpu_seconds(one.pid) for one in (process, *process.children(recursive=True)))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
