"""Random lives of pools, each lived twice at the same time: in one namespace the operator is killed again and
again at random points, in the other it is left alone. At the end both must be alike, and as the plan says.

Runs on a control plane of its own (bench/private_cluster.py); the operator has the chart's rights. Rows of
other seeds that are in the results already stay, so that a long run can be made in pieces.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from api.operator_process import OperatorProcess
from churn_sequences import Life, life
from churn_verdict import Verdict, verdict
from churn_world import SETTLE_SECONDS, World
from fastserve.cluster.login import Login, login
from fastserve.cluster.session import open_client
from private_cluster import PrivateCluster, private_cluster

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "operator_churn.json"
FAULTED, CALM = "faulted", "spared"
LEAST_KILLS = 5
"""In each life; those after its last step fall into what the operator then repairs."""
LIVES_BETWEEN_KILLS = 4.0
"""Seconds at most that the operator acts before it is killed."""


@dataclass(frozen=True)
class Row:
    """One life. `left` are objects with the pool's label after the user deleted all of it."""

    seed: int
    steps: int
    kills: int
    converged: bool
    seconds: float
    different: Sequence[str]
    untold: Sequence[str]
    leaked: Sequence[str]
    deleted: Sequence[str]
    left: Sequence[str]


class Victim:
    """The operator of the faulted namespace: each replica is killed after a random while, as a container is
    that starts anew in its pod, and the next one begins at once."""

    def __init__(self, cluster: PrivateCluster, dice: random.Random) -> None:
        self._cluster = cluster
        self._dice = dice
        self.kills = 0
        self.process = self._start()

    async def suffer(self) -> None:
        """Until cancelled; an operator lives on then."""
        while True:
            await self._leading()
            await asyncio.sleep(self._dice.uniform(0, LIVES_BETWEEN_KILLS))
            self.process.kill()
            self.kills += 1
            self.process = self._start()

    async def _leading(self) -> None:
        while not await asyncio.to_thread(lambda: self.process.leads):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)

    def _start(self) -> OperatorProcess:
        return operator(self._cluster, FAULTED)


def operator(cluster: PrivateCluster, namespace: str) -> OperatorProcess:
    rate = {"FASTSERVE_WRITES_PER_SECOND": "200", "FASTSERVE_WRITE_BURST": "200"}
    return cluster.operator(namespace, (namespace,), **rate)


async def batch(lives: Sequence[Life], world: World, victim: Victim) -> list[Row]:
    """Live these lives at once, in both namespaces, and judge them."""
    suffering, before = asyncio.create_task(victim.suffer()), victim.kills
    await asyncio.gather(*(world.live(one, space) for one in lives for space in (FAULTED, CALM)))
    while victim.kills - before < LEAST_KILLS:  # noqa: ASYNC110 - other processes
        await asyncio.sleep(0.05)
    await asyncio.sleep(random.Random(lives[0].seed).uniform(0, LIVES_BETWEEN_KILLS))
    suffering.cancel()
    with suppress(asyncio.CancelledError):
        await suffering
    kills, began = victim.kills - before, time.monotonic()
    verdicts = await _judged(lives, world, began)
    for space in (FAULTED, CALM):
        await asyncio.gather(*(world.end(one, space) for one in lives))
    left = await _left(lives, world)
    for space in (FAULTED, CALM):
        await asyncio.gather(*(world.remove_strangers(one, space) for one in lives))
    return [
        Row(
            one.seed,
            len(one.steps),
            kills,
            found.converged,
            round(seconds, 1),
            **asdict(found),
            left=left[one.seed],
        )
        for one, (found, seconds) in zip(lives, verdicts, strict=True)
    ]


async def _judged(lives: Sequence[Life], world: World, began: float) -> list[tuple[Verdict, float]]:
    """The verdict on each life, and the seconds until it was a good one; the last one where it never was."""

    async def judge(one: Life) -> tuple[Verdict, float]:
        while True:
            seen, calm = [await world.ending(one, space) for space in (FAULTED, CALM)]
            found = verdict(one, seen, calm, world.strangers[FAULTED, one.seed])
            seconds = time.monotonic() - began
            if found.converged or seconds > SETTLE_SECONDS:
                return found, seconds
            await asyncio.sleep(1.0)

    return list(await asyncio.gather(*(judge(one) for one in lives)))


async def _left(lives: Sequence[Life], world: World) -> dict[int, list[str]]:
    """By seed, what stays of a pool that was deleted."""

    async def look(one: Life) -> list[str]:
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            seen = await world.ending(one, FAULTED)
            there = {**seen.children, **seen.owners}.keys() - seen.strangers.keys()
            left = sorted(f"{kind.name}/{name}" for kind, name in there)
            if not left or time.monotonic() > end:
                return left
            await asyncio.sleep(1.0)

    return dict(
        zip((one.seed for one in lives), await asyncio.gather(*(look(one) for one in lives)), strict=True)
    )


async def run(cluster: PrivateCluster, how: Login, seeds: Sequence[int], at_once: int) -> list[Row]:
    rows: list[Row] = []
    calm, victim = operator(cluster, CALM), Victim(cluster, random.Random(seeds[0]))
    async with open_client(how) as client:
        world = World(client, how.server.rstrip("/"))
        for first in range(0, len(seeds), at_once):
            began = time.monotonic()
            lives = [life(seed) for seed in seeds[first : first + at_once]]
            found = await batch(lives, world, victim)
            rows.extend(found)
            bad = [row for row in found if not row.converged or row.left]
            print(
                f"seeds {lives[0].seed}..{lives[-1].seed}: {found[0].kills} kills,"
                f" {len(found) - len(bad)} of {len(found)} well, {time.monotonic() - began:.0f} s",
                flush=True,
            )
            for row in bad:
                print(json.dumps(asdict(row), indent=1), flush=True)
    victim.process.end()
    calm.end()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=20)
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.lives)
    with (
        tempfile.TemporaryDirectory(prefix="fastserve-churn-") as folder,
        private_cluster(Path(folder), 8) as cluster,
    ):
        for namespace in (FAULTED, CALM):
            cluster.server.kubectl("create", "namespace", namespace)
            cluster.grant(namespace, (namespace,))
        how = asyncio.run(login({"KUBECONFIG": str(cluster.server.kubeconfig)}))
        rows = asyncio.run(run(cluster, how, seeds, given.at_once))
    return report(rows)


def report(rows: Sequence[Row]) -> int:
    """Print the sums and write bench/results/operator_churn.json; 1 where anything is not as it should be."""
    known = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    kept = {row["seed"]: row for row in known} | {row.seed: asdict(row) for row in rows}
    every = [kept[seed] for seed in sorted(kept)]
    sums = {
        "lives": len(every),
        "converged": sum(row["converged"] for row in every),
        "leaked": sum(bool(row["leaked"] or row["left"]) for row in every),
        "wronglyDeleted": sum(bool(row["deleted"]) for row in every),
        "medianSecondsToConverge": sorted(row["seconds"] for row in every)[len(every) // 2],
        "longestSecondsToConverge": max(row["seconds"] for row in every),
    }
    print(json.dumps(sums))
    RESULTS.write_text(json.dumps({"sums": sums, "rows": every}, indent=2) + "\n")
    return 0 if sums["converged"] == len(every) and not sums["leaked"] and not sums["wronglyDeleted"] else 1


if __name__ == "__main__":
    sys.exit(main())
