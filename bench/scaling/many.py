"""Many pools that scale, on the cluster of `make cluster`: what deciding costs their routers, the API server
and etcd, at rest and while load changes; and for how long a decision stops a router.

    python -m scaling.many [--pools 50] [--seconds 120]     writes bench/results/scaling-many.json

The operator is the installed one (`make e2e STORY=hello` installs it), the pods are kwok's, and each pool's
stand-by router is a true process that holds its pool's Lease (scaling/many_world.py). What the members'
replicas tell is made up (scaling/told.py). Routers are measured first without anything to scale: what they
take more afterwards is what scaling costs.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import uvloop

from audited import Request, requests
from fastserve.api.identity import scaling_lease_name
from fastserve.cluster.kube import connected
from fastserve.cluster.login import login
from fastserve.local.environment import Installer
from fastserve.local.folders import Folders
from harness.audit import Audit, Write
from harness.kubectl import Kubectl
from harness.operators import operator_pods, operator_user
from harness.processes import processes_of
from harness.scaling import is_scale
from harness.target import own_cluster, state_folder, target
from scaling import report
from scaling.many_world import (
    SPACE,
    Pods,
    Routers,
    apply,
    ground,
    manifests,
    members_of,
    names,
    scaled,
    until,
)
from scaling.rounds import rounds, show_rounds
from scaling.told import Load, close_rows

RATES = {1: 8.0, 2: 22.0, 3: 40.0, 4: 58.0}
"""Requests per second that take so many replicas."""
START_SECONDS, QUIET_SECONDS, SETTLE_SECONDS = 600.0, 40.0, 300.0
AFTER_SECONDS = 60.0
"""In which the last changes are waited for."""
ROUTERS, OPERATOR = "routers", "operator"


@dataclass(frozen=True)
class Phase:
    """One phase. CPU is per pool, in thousandths of a core; `calls` are per pool and minute by who, verb and
    resource, those for Leases apart; `writes` all in all, by object, without those of Leases."""

    name: str
    seconds: float
    router_millicores: float
    router_millicores_most: float
    operator_millicores: float
    router_mib: float
    calls: dict[str, float]
    lease_calls: dict[str, float]
    writes: dict[str, int]


@dataclass(frozen=True)
class Jump:
    """A change of one sub-model's load at `at` (Unix time), from what takes so many replicas to what takes
    others."""

    member: str
    at: float
    before: int
    after: int

    @property
    def direction(self) -> str:
        return "up" if self.after > self.before else "down"


class Log:
    """What the API server writes into its audit log from now on; it is rotated meanwhile."""

    def __init__(self) -> None:
        self._path = state_folder() / "logs" / "audit.log"
        self._file = self._path.open("rb")
        self._file.seek(0, os.SEEK_END)

    def requests(self) -> list[Request]:
        """Until now, of the bench's namespace, each once: a watch is in the log when it begins and when it
        ends. The log is closed then."""
        with self._file as first, tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "audit.log"
            with copy.open("wb") as into:
                shutil.copyfileobj(first, into)
                if self._path.stat().st_ino != os.fstat(first.fileno()).st_ino:
                    into.write(self._path.read_bytes())
            seen = [one for one in requests(copy, SPACE) if one.namespace == SPACE]
        return list({(one.at, one.user, one.right, one.name): one for one in seen}.values())


@dataclass(frozen=True)
class Reading:
    """At one moment: CPU seconds so far, of each router and of the operator; and the log from then on."""

    at: float
    routers: tuple[float, ...]
    operator: float
    log: Log


class Meter:
    """Reads processes and the audit log; a phase is what lies between two readings."""

    def __init__(self, cluster: Kubectl, routers: Routers) -> None:
        self._routers = routers
        self._operator_user = operator_user(cluster)
        numbers = [one for pod in operator_pods(cluster) for one in processes_of(pod, "fastserve.controller")]
        self._operator = [psutil.Process(number) for number in numbers]

    def read(self) -> Reading:
        self._routers.check()
        operator = sum(one.cpu_times().user + one.cpu_times().system for one in self._operator)
        each = tuple(one.cpu_seconds for one in self._routers.by_pool.values())
        return Reading(time.time(), each, operator, Log())

    def phase(self, name: str, begin: Reading) -> Phase:
        """From `begin` until now."""
        end, seen = self.read(), begin.log.requests()
        seconds, pools = end.at - begin.at, len(end.routers)
        each = [1000 * (b - a) / seconds for a, b in zip(begin.routers, end.routers, strict=True)]
        memory = [one.seen.memory_full_info().uss for one in self._routers.by_pool.values()]
        calls, leases, writes = Counter[str](), Counter[str](), Counter[str]()
        for one in filter(self._who, seen):
            (leases if one.right.resource == "leases" else calls)[f"{self._who(one)}: {one.right}"] += 1
            if one.writes and one.right.resource != "leases":
                writes[f"{self._who(one)}: {one.right} {one.name}"] += 1
        per = 60 / seconds / pools
        return Phase(
            name=name,
            seconds=round(seconds, 1),
            router_millicores=round(sum(each) / pools, 2),
            router_millicores_most=round(max(each), 2),
            operator_millicores=round(1000 * (end.operator - begin.operator) / seconds / pools, 2),
            router_mib=round(sum(memory) / pools / 2**20, 1),
            calls={key: round(count * per, 3) for key, count in sorted(calls.items())},
            lease_calls={key: round(count * per, 3) for key, count in sorted(leases.items())},
            writes=dict(writes.most_common()),
        )

    def _who(self, request: Request) -> str:
        if request.user == self._operator_user:
            return OPERATOR
        own = request.user.startswith(f"system:serviceaccount:{SPACE}:") and request.user.endswith(
            "-p-router"
        )
        return ROUTERS if own else ""


class Bench:
    """The pools, their load, and what was measured of them."""

    def __init__(self, cluster: Kubectl, kubectl: Kubectl, pools: int, seconds: float) -> None:
        self._cluster = cluster
        self._kubectl = kubectl
        self._pools = names(pools)
        self._seconds = seconds
        self._dice = random.Random(1)
        self._levels = {name: self._dice.choice((1, 2)) for pool in self._pools for name in members_of(pool)}
        self._loads = {name: Load(name, RATES[level]) for name, level in self._levels.items()}

    async def run(self, encoder: Path, folder: Path) -> tuple[list[Phase], dict[str, Any]]:
        routers = Routers(self._kubectl, folder, encoder)
        try:
            async with self._world(routers):
                await asyncio.to_thread(self._apply, scaling=False)
                await self._started(routers)
                meter = Meter(self._cluster, routers)
                phases = [await self._rest(meter, "nothing scaled", self._seconds / 2)]
                await asyncio.to_thread(self._apply, scaling=True)
                await self._settled()
                phases.append(await self._rest(meter, "at rest", self._seconds))
                with Audit() as audit:
                    begin = meter.read()
                    jumps = await self._change()
                    phases.append(await asyncio.to_thread(meter.phase, "under change", begin))
                    _say(f"{len(jumps)} jumps; waiting for what the last of them call for")
                    await asyncio.sleep(AFTER_SECONDS)
                    writes = await asyncio.to_thread(audit.all_writes, SPACE)
                return phases, answers_to(jumps, writes)
        finally:
            routers.end()

    @asynccontextmanager
    async def _world(self, routers: Routers) -> AsyncIterator[None]:
        """Somebody listens at the pods' addresses, and rows are closed."""
        environment = {"KUBECONFIG": str(self._kubectl.kubeconfig)}
        async with connected(await login(environment)) as api, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(Pods(api, routers, self._loads).run()),
                group.create_task(close_rows(lambda: list(self._loads.values()))),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def _apply(self, *, scaling: bool) -> None:
        items = [one for pool in self._pools for one in manifests(pool)]
        apply(self._kubectl, [scaled(one) if scaling and one["kind"] == "SubModel" else one for one in items])

    async def _started(self, routers: Routers) -> None:
        """Every router runs, and every pool is Ready by the operator's word."""

        def ready() -> bool:
            routers.check()
            if len(routers.by_pool) < len(self._pools):
                return False
            found = self._kubectl.list_of("modelpools")
            return sum(_is_ready(one) for one in found) == len(self._pools)

        seconds = await until(ready, START_SECONDS, "all pools are Ready")
        _say(f"{len(self._pools)} pools are Ready after {seconds:.0f} s")

    async def _rest(self, meter: Meter, name: str, seconds: float) -> Phase:
        _say(f"{name}: {seconds:g} s")
        begin = meter.read()
        await asyncio.sleep(seconds)
        return await asyncio.to_thread(meter.phase, name, begin)

    async def _settled(self) -> None:
        """Every Lease is held, and nobody wrote anything else for a while."""
        leases = {scaling_lease_name(pool) for pool in self._pools}
        wrote_at = time.monotonic()

        def quiet() -> bool:
            nonlocal wrote_at
            if any(one.told.split()[1] != "leases" for one in audit.all_writes(SPACE)):
                wrote_at = time.monotonic()
            found = self._kubectl.list_of("leases")
            held = {one["metadata"]["name"] for one in found if one["spec"].get("holderIdentity")}
            return leases <= held and time.monotonic() - wrote_at > QUIET_SECONDS

        with Audit() as audit:
            seconds = await until(quiet, SETTLE_SECONDS, f"no writes for {QUIET_SECONDS:g} s")
        _say(f"all scale, and nobody has written for {QUIET_SECONDS:g} s, after {seconds:.0f} s")

    async def _change(self) -> list[Jump]:
        """Each sub-model's load jumps once in each minute, at a random time."""
        minutes = max(1, round(self._seconds / 60))
        due = sorted(
            (60 * minute + self._dice.uniform(5, 55), name)
            for minute in range(minutes)
            for name in self._loads
        )
        _say(f"under change: {60 * minutes} s")
        began, jumps = time.monotonic(), []
        for at, name in due:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            before = self._levels[name]
            after = self._dice.choice([one for one in RATES if one != before])
            self._levels[name], self._loads[name].rate = after, RATES[after]
            jumps.append(Jump(name, time.time(), before, after))
        await asyncio.sleep(max(0.0, began + 60 * minutes - time.monotonic()))
        return jumps


def _is_ready(pool: dict[str, Any]) -> bool:
    conditions = (pool.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def answers_to(jumps: Sequence[Jump], writes: Sequence[Write]) -> dict[str, Any]:
    """How soon after a jump its sub-model was scaled for the first time and for the last time, up and down
    apart."""
    wrote: dict[str, list[float]] = {}
    for one in writes:
        if is_scale(one) and one.code < 300:
            wrote.setdefault(one.told.split()[2], []).append(datetime.fromisoformat(one.at).timestamp())
    first: dict[str, list[float]] = {"up": [], "down": []}
    last: dict[str, list[float]] = {"up": [], "down": []}
    for jump in jumps:
        later = [one.at for one in jumps if one.member == jump.member and one.at > jump.at]
        end = min(later, default=float("inf"))
        times = [at - jump.at for at in wrote.get(jump.member, ()) if jump.at < at < end]
        if times:
            first[jump.direction].append(min(times))
            last[jump.direction].append(max(times))
    count = Counter(jump.direction for jump in jumps)
    return {
        "scaleWrites": sum(map(len, wrote.values())),
        **{
            name: {"jumps": count[name], "first": _summary(first[name]), "last": _summary(last[name])}
            for name in first
        },
    }


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {"count": 0}
    known = sorted(seconds)
    p50, p95 = (known[min(len(known) - 1, int(share * len(known)))] for share in (0.5, 0.95))
    return {
        "count": len(known),
        "p50": round(p50, 2),
        "p95": round(p95, 2),
        "most": round(known[-1], 2),
    }


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def show(phases: Sequence[Phase], answers: dict[str, Any]) -> None:
    """CPU and writes, calls, and the answers to jumps."""
    heads = ("ROUTER mCPU", "MOST", "FOR SCALING", "OPERATOR mCPU", "ROUTER MiB", "WRITES")
    table = report.new_table("PHASE", "S", *heads)
    for one in phases:
        more = one.router_millicores - phases[0].router_millicores
        cpu = (one.router_millicores, one.router_millicores_most, more, one.operator_millicores)
        told = (*(f"{value:.2f}" for value in cpu), f"{one.router_mib:g}", str(sum(one.writes.values())))
        table.add_row(one.name, f"{one.seconds:g}", *told)
    report.console.print("Per pool; writes all in all, without those of Leases", table)
    table = report.new_table("CALLS PER POOL AND MINUTE", *(one.name.upper() for one in phases))
    for key in sorted({key for one in phases for key in (*one.calls, *one.lease_calls)}):
        calls = [one.calls.get(key, one.lease_calls.get(key, 0.0)) for one in phases]
        table.add_row(key, *(f"{count:.2f}" for count in calls))
    report.console.print(table)
    table = report.new_table("JUMPS OF LOAD", "JUMPS", "/scale WRITTEN", "FOR", "P50 S", "P95 S", "MOST S")
    for name, word in ((name, word) for name in ("up", "down") for word in ("first", "last")):
        row = answers[name][word]
        times = (str(row.get(key, "")) for key in ("count", "p50", "p95", "most"))
        table.add_row(name, str(answers[name]["jumps"]), f"for the {word} time", *times)
    report.console.print("Seconds from a jump until /scale is written", table)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0, help="at rest, and under change")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the folder of the results")
    given = parser.parse_args()
    if not own_cluster():
        raise SystemExit("the audit log is read where `make cluster` keeps it: unset E2E_KUBECONFIG")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = target()
    installer = Installer(Folders.of_platform(), _say)
    encoder = installer.encoder(installer.engine(), installer.weights())
    decisions = rounds()
    show_rounds(decisions)
    with (
        tempfile.TemporaryDirectory(prefix="fastserve-many-") as folder,
        ground(cluster, given.pools) as kubectl,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        bench = Bench(cluster, kubectl, given.pools, given.seconds)
        phases, answers = runner.run(bench.run(encoder, Path(folder)))
    show(phases, answers)
    document = {
        "pools": given.pools,
        "phases": [asdict(one) for one in phases],
        "answers": answers,
        "rounds": [asdict(one) for one in decisions],
    }
    report.write("scaling-many", document, given.results)
    return int(bool(phases[1].writes))


if __name__ == "__main__":
    sys.exit(main())
