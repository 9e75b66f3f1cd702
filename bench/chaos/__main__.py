"""Faults under open-loop load against real Tritons in local mode; each answer's content is checked.

    python -m chaos [--part versions] [--swaps 100] [--trials 20] [--rate 200]
                                                        writes bench/results/chaos-PART.json for each part
    python -m chaos --short                             few trials of few rows, in a minute

The pools answer by models whose service time is declared and whose answers tell version and text. Seeds are
fixed, latency counts from when a request was due. Ends with 1 where a row fell short; the short form, which
is for machines that do other things as well, only where answers were lost or wrong.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos import deaths, minilm, replicas, sharded, swaps
from chaos.learning import answers_of, write_learnt
from chaos.model import Ground
from chaos.scorecard import RESULTS, Terms, report
from chaos.scoring import CONTENT, Planned
from chaos.swaps import Ask
from chaos.world import ground_of, running

WAIT_SECONDS = 0.01


@dataclass(frozen=True)
class Length:
    """How many trials, and at which rate."""

    swaps: int
    trials: int
    rate: float


def version_rows(folder: Path, ground: Ground, length: Length) -> Iterator[Planned]:
    """Exchanges of versions."""
    with running(_new(folder, "versions"), swaps.parts_of(folder, ground)) as world:
        yield from swaps.rows(Ask(world, length.rate, folder), length.swaps, length.trials)


def custom_rows(folder: Path, ground: Ground, length: Length) -> Iterator[Planned]:
    """Deaths of a model that is its user's own."""
    parts = swaps.parts_of(_new(folder, "custom-models"), ground)
    with running(_new(folder, "custom"), parts) as world:
        yield from deaths.rows(Ask(world, length.rate, folder), deaths.CUSTOM_FAULTS, length.trials)


def sharded_rows(folder: Path, ground: Ground, length: Length) -> Iterator[Planned]:
    """Deaths of all that a model of two ranks consists of."""
    with running(_new(folder, "sharded"), sharded.parts_of(folder, ground)) as world:
        answers = answers_of(world.address, sharded.NAME)
        ask = Ask(world, length.rate, folder, write_learnt(folder / "learnt-sharded.json", [answers]))
        yield from deaths.rows(ask, deaths.FAULTS, length.trials)


def minilm_rows(folder: Path, ground: Ground, length: Length) -> Iterator[Planned]:
    """Exchanges and deaths of a real model, at half of its peak."""
    models = _new(folder, "minilm-models")
    with running(_new(folder, "minilm"), minilm.parts_of(models, ground)) as world:
        yield from minilm.rows(Ask(world, length.rate, models), length.trials)


def replica_rows(folder: Path, ground: Ground, length: Length) -> Iterator[Planned]:
    """One of two replicas that is ill."""
    with running(_new(folder, "twins"), replicas.parts_of(folder, ground)) as world:
        yield from replicas.rows(Ask(world, length.rate, folder), length.trials)


PARTS = {
    "versions": version_rows,
    "custom": custom_rows,
    "sharded": sharded_rows,
    "replicas": replica_rows,
    "minilm": minilm_rows,
}


def short_rows(folder: Path, ground: Ground) -> Iterator[Planned]:
    """A few exchanges, one that is refused, and a killed Triton."""
    with running(_new(folder, "versions"), swaps.parts_of(folder, ground)) as world:
        ask = Ask(world, 50.0, folder)
        yield swaps.planned(swaps.PLAIN, ask, 2, swaps.plain)
        yield swaps.planned("corrupt B", ask, 1, swaps.corrupt)
        yield from deaths.rows(ask, deaths.CUSTOM_FAULTS[1:], 1)


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that pools are taken down
    with tempfile.TemporaryDirectory(prefix="fastserve-chaos-") as name:
        folder = Path(name)
        ground = ground_of(folder, WAIT_SECONDS)
        if given.short:
            made = report(
                short_rows(folder, ground), Terms(50.0, WAIT_SECONDS), given.results / "chaos-short.json"
            )
            return int(any(CONTENT & set(row.short) for row in made))
        length, kept = Length(given.swaps, given.trials, given.rate), True
        for part in given.part or PARTS:
            rows = PARTS[part](folder, ground, length)
            terms, result = Terms(given.rate, WAIT_SECONDS), given.results / f"chaos-{part}.json"
            made = report(rows, terms, result, frozenset(given.row))
            if missing := set(given.row) - {row.name for row in made}:
                raise SystemExit(f"{part} has no row {', '.join(sorted(missing))}")
            kept = kept and all(row.kept for row in made)
    return int(not kept)


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--swaps", type=int, default=100, help="exchanges A→B→A that nothing goes wrong in")
    parser.add_argument("--trials", type=int, default=20, help="of each fault")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--short", action="store_true", help="few trials of few rows")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given again")
    parser.add_argument(
        "--row", action="append", default=[], help="with one --part: only this row; the file's others stay"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder where the JSON goes")
    given = parser.parse_args()
    if given.row and len(given.part or ()) != 1:
        parser.error("--row is of one --part")
    return given


if __name__ == "__main__":
    sys.exit(main())
