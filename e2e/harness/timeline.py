"""What a sub-model had, second by second, beside what came: load, waits, replicas."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from subprocess import TimeoutExpired
from typing import Any

from fastserve.api.scaling import ROW_SECONDS, LoadReport, LoadRow
from fastserve.scaling.samples import Sample, quantile_of
from harness.kubectl import Kubectl, Manifest

LOOK_SECONDS = 1.0
REPORT_SECONDS = 8.0
"""A router's report holds the rows of half a minute."""
QUEUE_SECONDS = 10.0
"""A quantile is over the waits of so long."""


@dataclass(frozen=True)
class Look:
    """What the sub-model said. `at` is Unix time."""

    at: float
    replicas: int
    ready: int
    reason: str


@dataclass(frozen=True)
class Moment:
    """One second of the picture. `queue_p95` is None where nobody waited or was let in."""

    second: int
    asked: int
    answered: int
    again: int
    queue_p95: float | None
    replicas: int
    ready: int
    reason: str


class Timeline:
    """Looks at one sub-model until it is told to end."""

    def __init__(self, kubectl: Kubectl, sub_model: str) -> None:
        self._kubectl, self._name = kubectl, sub_model
        self._over = threading.Event()
        self.looks: list[Look] = []
        self.rows: dict[tuple[str, int], LoadRow] = {}
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._hear)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def moments(self, seconds: Sequence[Mapping[str, Any]]) -> list[Moment]:
        """One for each of the lines of a surge, and for each second after it."""
        first = int(seconds[0]["at"])
        lines = {int(one["at"]) - first: one for one in seconds}
        last = max(*lines, int(self.looks[-1].at) - first)
        return [self._moment(second, first, lines.get(second, {})) for second in range(last + 1)]

    def queue_p95(self, begin: float, end: float) -> float | None:
        """Of the requests that came to a place between two moments (Unix time)."""
        rows = [one for one in self.rows.values() if begin <= one.at < end and one.waits]
        samples = [Sample(at=one.at, waits=tuple(map(float, one.waits))) for one in rows]
        return quantile_of(samples, 0.95) if any(sum(one.waits) for one in samples) else None

    def _moment(self, second: int, first: int, line: Mapping[str, Any]) -> Moment:
        at = first + second
        before = [one for one in self.looks if one.at < at + 1] or self.looks[:1]
        wait = self.queue_p95(at + 1 - QUEUE_SECONDS, at + 1)
        return Moment(
            second=second,
            asked=line.get("asked", 0),
            answered=line.get("answered", 0),
            again=sum(line.get("again", {}).values()),
            queue_p95=None if wait is None else round(wait, 4),
            replicas=before[-1].replicas,
            ready=before[-1].ready,
            reason=before[-1].reason,
        )

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            thing = self._kubectl.get("submodel", self._name)
            status = thing.get("status", {})
            reason = status.get("scaling", {}).get("reason", "")
            ready = status.get("readyReplicas", 0)
            self.looks.append(Look(time.time(), thing["spec"]["replicas"], ready, reason))

    def _hear(self) -> None:
        while not self._over.wait(REPORT_SECONDS):
            self._read_reports()
        self._read_reports()

    def _read_reports(self) -> None:
        for pod in self._kubectl.list_of("pods", f"fastserve.io/submodel={self._name}"):
            report = load_of(self._kubectl, pod)
            for row in report.rows if report else ():
                if row.own and row.member == self._name:
                    self.rows[(pod["metadata"]["uid"], row.at // ROW_SECONDS)] = row


def load_of(kubectl: Kubectl, pod: Manifest) -> LoadReport | None:
    """What the pod's router says of its load; None where it does not answer (yet, or any more)."""
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod['metadata']['name']}:8081/proxy/v1/load"
    try:
        said = kubectl.attempt("get", "--raw", path, seconds=10)
    except TimeoutExpired:  # the API server waits longer for a pod that is about to go
        return None
    return LoadReport.model_validate_json(said.stdout) if said.returncode == 0 else None


@contextmanager
def timeline(kubectl: Kubectl, sub_model: str) -> Iterator[Timeline]:
    """Follows the sub-model until the block ends."""
    found = Timeline(kubectl, sub_model)
    found.start()
    try:
        yield found
    finally:
        found.end()


def as_json(moments: Sequence[Moment], about: Mapping[str, object]) -> str:
    return json.dumps({**about, "moments": [asdict(one) for one in moments]}, indent=1) + "\n"
