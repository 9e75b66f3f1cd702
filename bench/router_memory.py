"""Whether a router's memory stays as it is over a million requests.

A stand-by door is asked for one sub-model by name, and asks the router beside that one's Triton (an nginx
stands for it): both see every request, with admission, health, metrics and request ids on. Told is the memory
that each holds for itself (USS, so that shared pages don't count) after each spell, and how much that grew
since the first one, in which pools and caches fill.

    python bench/router_memory.py [--requests 1000000]      writes bench/results/router_memory.json
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from peer_install import debian_program
from peer_load import Callers
from peer_programs import upstream
from peer_report import DOOR
from router_peers import House, our_rows, those_that_answer

RESULT = Path(__file__).parent / "results" / "router_memory.json"
SPELLS, CONNECTIONS = 10, 32
MIB = 1 << 20


def spells(folder: Path, requests: int) -> Iterator[tuple[int, float, float]]:
    """After each spell: requests so far, and MiB of the door and of the router behind it."""
    with ExitStack() as stack:
        house = House(folder, stack)
        program = upstream(debian_program("nginx"))
        rows, faults = those_that_answer(
            house, our_rows(house, program.port, house.start("upstream", program))
        )
        if faults:
            raise SystemExit(str(faults))
        row = next(row for row in rows if row.name == DOOR)
        asked, behind = (psutil.Process(pid) for pid in (row.processes.asked, row.processes.behind[0]))
        callers = Callers(debian_program("h2load"), folder)
        for spell in range(1, SPELLS + 1):
            callers.spell(row.port, row.call, CONNECTIONS, requests // SPELLS)
            yield spell * (requests // SPELLS), _held(asked), _held(behind)


def _held(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    given = parser.parse_args()
    table = Table("REQUESTS", "DOOR MiB", "ROUTER BEHIND IT MiB", box=box.SIMPLE_HEAD)
    with tempfile.TemporaryDirectory() as folder:
        told = list(spells(Path(folder), given.requests))
    for requests, door, behind in told:
        table.add_row(f"{requests:,}", f"{door:.2f}", f"{behind:.2f}")
    first, last = told[0], told[-1]
    growth = {"door": round(last[1] - first[1], 2), "behind": round(last[2] - first[2], 2)}
    Console().print(table, f"After the first spell: {growth} MiB")
    rows = [{"requests": n, "door_mib": round(d, 2), "behind_mib": round(b, 2)} for n, d, b in told]
    document = {"cpus": os.cpu_count(), "growth_mib_after_the_first_spell": growth, "spells": rows}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
