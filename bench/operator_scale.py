"""Many pools at once on nodes that kwok plays: how long until all is as it is wanted, what a look at a pool
costs, how often objects are written, and whether the operator grows while pools come, change and go.

No router answers there: a pool has converged when its children are exactly those of the plan and every
status speaks of the current generation. Runs on a control plane of its own (bench/private_cluster.py).
"""

import argparse
import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from api.operator_process import OperatorProcess
from api.private_server import OPERATOR
from audited import requests, writes_by_object
from fastserve.cluster.login import login
from fastserve.cluster.session import open_client
from private_cluster import PrivateCluster, private_cluster
from scale_world import MEMBERS, ScaleWorld

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "operator_scale.json"
NAME = "scale"
PODS_PER_NODE = 200
CONVERGE_SECONDS = 1800.0
REQUESTS = re.compile(
    r'fastserve_operator_api_requests_total\{.*kind="(?P<kind>[^"]*)",verb="(?P<verb>[^"]*)"'
)
BUCKET = re.compile(r'fastserve_operator_reconcile_duration_seconds_bucket\{le="(?P<le>[^"]*)"')
WRITES = ("patch", "create", "delete")
UNCOUNTED = ("events", "leases")


@dataclass(frozen=True)
class Given:
    pools: int
    namespaces: int
    minutes: float
    writes: float
    profile: Path | None


@dataclass(frozen=True)
class Phase:
    """One phase. Seconds of a look are bounds of the histogram's buckets; `cpu_seconds` are the operator's,
    `writes` its own by kind (statuses apart); `most_writes` the most that any one object had; `told` seconds
    from an edit until the status of what was edited spoke of it."""

    name: str
    seconds: float
    looks: int
    look_p50_seconds: float
    look_p99_seconds: float
    cpu_seconds: float
    rss_mib: float
    reads: int
    writes: Mapping[str, int]
    most_writes: int
    writes_per_object: float
    edits: int = 0
    told_p50_seconds: float = 0.0
    told_p99_seconds: float = 0.0


class Meter:
    """Reads the operator's own metrics, its process and what it wrote; each phase is a difference."""

    def __init__(self, operator: OperatorProcess, cluster: PrivateCluster) -> None:
        self._operator = operator
        self._cluster = cluster
        self._process = psutil.Process(operator.process.pid)
        self._before = self._now()

    @property
    def rss_mib(self) -> float:
        return round(self._process.memory_info().rss / 2**20, 1)

    def phase(self, name: str, objects: int) -> Phase:
        """What happened since the last phase ended; `objects` are those that there are."""
        now, before = self._now(), self._before
        self._before = now
        written = now.written - before.written
        asked = now.requests - before.requests
        writes = {f"{verb} {kind}": count for (verb, kind), count in asked.items() if verb in WRITES}
        return Phase(
            name=name,
            seconds=round(now.at - before.at, 1),
            looks=now.looks - before.looks,
            look_p50_seconds=_quantile(before.buckets, now.buckets, 0.5),
            look_p99_seconds=_quantile(before.buckets, now.buckets, 0.99),
            cpu_seconds=round(now.cpu - before.cpu, 1),
            rss_mib=self.rss_mib,
            reads=sum(count for (verb, _), count in asked.items() if verb in {"get", "list"}),
            writes=dict(sorted(writes.items())),
            most_writes=max(written.values(), default=0),
            writes_per_object=round(sum(written.values()) / max(objects, 1), 2),
        )

    def _now(self) -> "_Reading":
        _, text = self._operator.ask("/metrics")
        times = self._process.cpu_times()
        requests, buckets, looks = Counter[tuple[str, str]](), {}, 0
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if found := REQUESTS.match(name):
                requests[found["verb"], found["kind"]] += int(float(value))
            elif found := BUCKET.match(name):
                buckets[float(found["le"])] = int(float(value))
            elif name.startswith("fastserve_operator_reconcile_total"):
                looks += int(float(value))
        cpu = times.user + times.system
        return _Reading(time.monotonic(), cpu, looks, requests, buckets, self._written())

    def _written(self) -> Counter[str]:
        """How often the operator wrote each object; a status is an object of its own, Events are left out."""
        found = requests(self._cluster.server.audit_log, OPERATOR)
        return writes_by_object(one for one in found if one.right.resource not in UNCOUNTED)


@dataclass(frozen=True)
class _Reading:
    at: float
    cpu: float
    looks: int
    requests: Counter[tuple[str, str]]
    buckets: Mapping[float, int]
    written: Counter[str]


def _quantile(before: Mapping[float, int], now: Mapping[float, int], part: float) -> float:
    """The upper bound of the bucket that the quantile lies in."""
    total = max(now.values(), default=0) - max(before.values(), default=0)
    for bound in sorted(now):
        if now[bound] - before.get(bound, 0) >= part * total:
            return bound
    return float("inf")


async def run(given: Given, cluster: PrivateCluster, spaces: Sequence[str]) -> list[Phase]:
    how = await login({"KUBECONFIG": str(cluster.server.kubeconfig)})
    rate = {"FASTSERVE_WRITES_PER_SECOND": f"{given.writes:g}", "FASTSERVE_WRITE_BURST": f"{given.writes:g}"}
    operator = cluster.operator(NAME, spaces, **rate)
    while not await asyncio.to_thread(lambda: operator.leads):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.2)
    await asyncio.sleep(5)  # its watches open
    meter = Meter(operator, cluster)
    profiler = _profiler(operator, given.profile)
    print(f"the operator watches; {meter.rss_mib} MiB", flush=True)
    phases = []
    async with open_client(how) as client:
        world = ScaleWorld(client, how.server.rstrip("/"), spaces, given.pools)
        await world.create()
        await world.converged(CONVERGE_SECONDS)
        phases.append(_told(meter.phase("made", await world.objects())))
        await asyncio.sleep(60)
        phases.append(_told(meter.phase("a minute after", await world.objects())))
        dice = random.Random(1)
        for part in range(1, 6):
            told = sorted(await world.churn(given.minutes * 60 / 5, dice))
            phase = meter.phase(f"churn, part {part} of 5", await world.objects())
            phases.append(_told(_with_edits(phase, told)))
        await world.converged(CONVERGE_SECONDS)
        phases.append(_told(meter.phase("converged after it", await world.objects())))
    if profiler is not None:
        profiler.send_signal(signal.SIGINT)  # it writes what it has
        profiler.wait()
    print(f"ended by SIGTERM in {operator.end():.1f} s", flush=True)
    return phases


def _profiler(operator: OperatorProcess, output: Path | None) -> "subprocess.Popen[bytes] | None":
    """py-spy, where a file for it is named; it must be on the path."""
    if output is None:
        return None
    options = ["--format", "raw", "--rate", "50", "--duration", "unlimited", "--output", str(output)]
    return subprocess.Popen(["py-spy", "record", *options, "--pid", str(operator.process.pid)])


def _with_edits(phase: Phase, told: Sequence[float]) -> Phase:
    middle, last = told[len(told) // 2], told[min(len(told) - 1, len(told) * 99 // 100)]
    return replace(phase, edits=len(told), told_p50_seconds=round(middle, 2), told_p99_seconds=round(last, 2))


def _told(phase: Phase) -> Phase:
    print(json.dumps(asdict(phase)), flush=True)
    return phase


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", type=int, default=500, help=f"each with {MEMBERS} sub-models")
    parser.add_argument("--namespaces", type=int, default=10, help="that the pools are spread over")
    parser.add_argument("--minutes", type=float, default=60.0, help="of churn")
    parser.add_argument("--writes", type=float, default=200.0, help="a second that the operator may do")
    parser.add_argument("--profile", type=Path, help="let py-spy write samples into this file")
    given = Given(**vars(parser.parse_args()))
    nodes = given.pools * (MEMBERS + 1) // PODS_PER_NODE * 2 + 2
    spaces = [f"scale-{number}" for number in range(given.namespaces)]
    with (
        tempfile.TemporaryDirectory(prefix="fastserve-scale-") as folder,
        private_cluster(Path(folder), nodes) as cluster,
    ):
        for space in spaces:
            cluster.server.kubectl("create", "namespace", space)
        cluster.grant(NAME, spaces)
        phases = asyncio.run(run(given, cluster, spaces))
    document = {"given": {**asdict(given), "profile": None}, "phases": [asdict(one) for one in phases]}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
