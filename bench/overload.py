"""Two, five and ten times more than a pool can answer, and back: goodput, how fast others are told, recovery.

A real pool in local mode (door, router, Triton) with one sub-model whose Triton model is a declared wait, so
that what it can answer is known and the processors of this machine do not limit it. The load is open loop
from processes of their own, at random times, with one text whose encoding is remembered.

    python bench/overload.py [--seconds 120] [--wait-millis 100] [--batch 4]
                                                    writes bench/results/overload.json
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from declared_wait import TEXT, cpu_of, declared_wait, router_processes
from fastserve.errors import BackendError
from fastserve.router.upstream import Upstream

RESULT = Path(__file__).parent / "results" / "overload.json"
STEPS = (0.5, 1.0, 2.0, 5.0, 10.0, 0.5)
"""Times what the model can answer; the first is the measure for the last."""
GENERATORS = 2
GOOD_SHARE, SHED_SECONDS, RECOVERY_SECONDS = 0.9, 0.05, 10.0
"""What is promised: goodput by peak, p99 of a refusal, recovery."""


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """One request: its step, when it was due (seconds since the load began), until the answer, the status."""

    step: int
    due: float
    seconds: float
    status: int


class Generated(msgspec.Struct, frozen=True):
    """What one generator did. `late` is how far behind its own schedule it was at worst, seconds."""

    sent: list[Sent]
    cpu_seconds: float
    late: float


@dataclass(frozen=True)
class Row:
    """One step. Seconds are of those answered and of those refused."""

    times: float
    rate: float
    sent: int
    goodput: float
    goodput_by_peak: float
    refused: int
    statuses: str
    answered_p50: float
    answered_p99: float
    refused_p50: float
    refused_p99: float


async def generate(address: str, rates: Sequence[float], seconds: float, seed: int) -> Generated:
    """Requests at random times (Poisson), whatever becomes of those before."""
    client, dice, sent = Upstream(address), np.random.default_rng(seed), []
    body, loop, late = json.dumps({"text": TEXT}).encode(), asyncio.get_running_loop(), 0.0
    began = loop.time()

    async def one(step: int, due: float) -> None:
        try:
            status = (await client.post("/v1/predict", b"", body, 30.0)).status
        except BackendError:
            status = 0
        sent.append(Sent(step, due, loop.time() - began - due, status))

    async with asyncio.TaskGroup() as group:
        for step, rate in enumerate(rates):
            due = step * seconds + dice.exponential(1.0 / rate)
            while due < (step + 1) * seconds:
                await asyncio.sleep(max(0.0, began + due - loop.time()))
                late = max(late, loop.time() - began - due)
                group.create_task(one(step, due))
                due += dice.exponential(1.0 / rate)
    client.close()
    return Generated(sent, time.process_time(), late)


def load(address: str, rates: Sequence[float], seconds: float, folder: Path) -> list[Generated]:
    """The generators' work, shared equally."""
    shares = ",".join(str(rate / GENERATORS) for rate in rates)
    files = [folder / f"generated-{seed}.json" for seed in range(GENERATORS)]
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--generate", address, shares, str(seconds), str(seed), str(file)]
        )
        for seed, file in enumerate(files)
    ]
    if max(child.wait() for child in children):
        raise SystemExit("a generator failed")
    return [msgspec.json.decode(file.read_bytes(), type=Generated) for file in files]


def goodput(sent: Sequence[Sent], step: int, seconds: float) -> float:
    """Answers per second that arrived in a step, whenever they were asked for; the first fifth of it is left
    out, for the queue to fill."""
    begin, end = (step + 0.2) * seconds, (step + 1) * seconds
    return sum(begin <= one.due + one.seconds < end for one in sent if one.status == 200) / (end - begin)


def row_of(sent: Sequence[Sent], step: int, answered: float, peaks: tuple[float, float]) -> Row:
    """One step's figures. `answered` is its goodput, `peaks` are what is declared and what was measured."""
    own = [one for one in sent if one.step == step]
    good = sorted(one.seconds for one in own if one.status == 200)
    shed = sorted(one.seconds for one in own if one.status != 200)  # told at once, or left to wait
    codes = Counter(one.status for one in own)
    return Row(
        times=STEPS[step],
        rate=STEPS[step] * peaks[0],
        sent=len(own),
        goodput=round(answered, 1),
        goodput_by_peak=round(answered / peaks[1], 3),
        refused=len(shed),
        statuses=" ".join(f"{code}:{number}" for code, number in sorted(codes.items())),
        answered_p50=_quantile(good, 0.5),
        answered_p99=_quantile(good, 0.99),
        refused_p50=_quantile(shed, 0.5),
        refused_p99=_quantile(shed, 0.99),
    )


def recovery(sent: Sequence[Sent], before: Row, began: float) -> float:
    """Seconds after the overload until the last request came that was refused or took twice as long as 99 in
    a hundred did before."""
    bad = [one.due for one in sent if one.status != 200 or one.seconds > 2.0 * before.answered_p99]
    return round(max((due - began for due in bad), default=0.0), 2)


def judge(sent: list[Sent], seconds: float, declared: float) -> tuple[list[Row], float]:
    """All rows, and the seconds of recovery. The peak is what is declared, or what was answered at one time
    that where it is more."""
    answered = [goodput(sent, step, seconds) for step in range(len(STEPS))]
    peaks = (declared, max(declared, answered[1]))
    rows = [row_of(sent, step, answered[step], peaks) for step in range(len(STEPS))]
    last = len(STEPS) - 1
    return rows, recovery([one for one in sent if one.step == last], rows[0], last * seconds)


def run(seconds: float, wait: float, batch: int) -> int:
    declared = batch / wait
    with (
        tempfile.TemporaryDirectory(prefix="fastserve-overload-") as folder,
        declared_wait(Path(folder), batch, wait) as overview,
    ):
        routers = router_processes(Path(folder) / "state")
        address = overview["url"].removeprefix("http://")
        load(address, (declared / 2.0,), 2.0, Path(folder))
        before = cpu_of(routers)
        made = load(address, [times * declared for times in STEPS], seconds, Path(folder))
        spent = {name: round(used - before[name], 2) for name, used in cpu_of(routers).items()}
    sent = sorted((one for each in made for one in each.sent), key=lambda one: one.due)
    rows, recovered = judge(sent, seconds, declared)
    document = {
        "declared": {"waitSeconds": wait, "batch": batch, "peakPerSecond": declared},
        "secondsPerStep": seconds,
        "cpus": os.cpu_count(),
        "rows": [asdict(row) for row in rows],
        "recoverySeconds": recovered,
        "generators": {
            "cpuSeconds": round(sum(one.cpu_seconds for one in made), 2),
            "behindScheduleSeconds": round(max(one.late for one in made), 3),
        },
        "routersCpuSeconds": spent,
    }
    report(rows, document)
    over = [row for row in rows if row.times > 1.0]
    kept = all(row.goodput_by_peak >= GOOD_SHARE and row.refused_p99 <= SHED_SECONDS for row in over)
    return 0 if kept and recovered <= RECOVERY_SECONDS else 1


def report(rows: Sequence[Row], document: dict[str, Any]) -> None:
    """Print the table and write the results."""
    heads = (
        "TIMES",
        "RATE",
        "SENT",
        "GOODPUT",
        "BY PEAK",
        "REFUSED",
        "STATUS",
        "P50",
        "P99",
        "REFUSED P50",
        "P99",
    )
    table = Table(*heads, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    console = Console(width=140)
    console.print(table)
    for key in ("recoverySeconds", "generators", "routersCpuSeconds"):
        console.print(f"{key}: {document[key]}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


def _quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return round(values[0], 4) if values else 0.0
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return round(cuts[round(share * 100) - 1], 4)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="of each step")
    parser.add_argument("--wait-millis", type=float, default=100.0, help="of one batch")
    parser.add_argument("--batch", type=int, default=4, help="requests in one batch")
    parser.add_argument("--generate", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.generate:
        return run(given.seconds, given.wait_millis / 1000.0, given.batch)
    address, rates, seconds, seed, file = given.generate
    shares = [float(rate) for rate in rates.split(",")]
    made = uvloop.run(generate(address, shares, float(seconds), int(seed)))
    Path(file).write_bytes(msgspec.json.encode(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
