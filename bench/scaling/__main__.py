"""Autoscaling measured: ours beside others on traces, under faults of its signals, and against a real run.

    python -m scaling [--part compare|faults|real] [--seeds 10] [--data ../shared/data]
        compare    a simulation under ours, HPA, KPA, KEDA, KubeAI and one that knows the future
        faults     the decision while what it hears is missing, late or wrong
        real       a pool in local mode, and the simulation of the very same requests

Each part writes bench/results/scaling*.json, and plots beside it.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scaling import report
from scaling.candidates import OURS_TUNED
from scaling.compare import FAMILIES, SERVICE, as_json, compare, loads_of, verdict
from scaling.faults import FAULTS, outcomes
from scaling.real import measured

LOADS = (0.0, 30.0)
TARGET = 0.1


def compare_part(given: argparse.Namespace) -> int:
    """All families under all load times."""
    document = _head(given)
    families, loads = given.family or FAMILIES, given.load or LOADS
    for family, load, judged in compare(families, loads, given.seeds, given.data, windows=given.windows):
        told = f"{load:g} s" if load else f"{min(loads_of(0)):g} to {max(loads_of(0)):g} s"
        report.show(family, told, judged)
        head = {"trace": family, "load": told}
        document["verdicts"].append({**head, **verdict(judged)})
        document["verdictsTuned"].append({**head, **verdict(judged, OURS_TUNED)})
        document["traces"].setdefault(family, {})[told] = as_json(judged)
        name = f"scaling-{family}" + (f"-{load:g}s" if load else "")
        title = f"{family}, replicas load in {told}"
        report.draw(name, title, judged, given.results, pace=SERVICE.pace, target=TARGET)
        report.write("scaling-windows" if given.windows else "scaling", document, given.results)
    report.show_verdicts(document["verdicts"])
    return 0


def _head(given: argparse.Namespace) -> dict[str, Any]:
    """Under what the comparison is made."""
    return {
        "service": {
            "batch": SERVICE.batch,
            "limit": SERVICE.limit,
            "seconds": SERVICE.seconds,
            "maxQueue": SERVICE.max_queue,
        },
        "targetSeconds": TARGET,
        "seeds": given.seeds,
        "windowsTuned": given.windows,
        "verdicts": [],
        "verdictsTuned": [],
        "traces": {},
    }


def faults_part(given: argparse.Namespace) -> int:
    """Wrong actions and flaps under each fault."""
    table = report.new_table("FAULT", "LOAD", "WRONG", "ACTIONS", "FLAPS/H", "WITHOUT", "THE FIRST")
    rows = []
    for row in outcomes(given.seeds, given.fault or list(FAULTS)):
        rows.append(row)
        table.add_row(
            row.fault,
            row.load,
            str(row.wrong),
            str(row.actions),
            f"{row.flaps_per_hour:.1f}",
            f"{row.flaps_per_hour_without:.1f}",
            row.first_wrong,
        )
    report.console.print(table)
    document = {"seeds": given.seeds, "rows": [asdict(row) for row in rows]}
    report.write("scaling-faults", document, given.results)
    return int(any(row.wrong for row in rows))


def real_part(given: argparse.Namespace) -> int:
    """A pool in local mode beside its simulation."""
    return measured(given.seeds, given.results)


PARTS = {"compare": compare_part, "faults": faults_part, "real": real_part}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given again")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only this trace")
    parser.add_argument(
        "--load",
        action="append",
        type=float,
        help="only this load time, seconds; 0: as measured in local mode",
    )
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this fault")
    parser.add_argument("--windows", action="store_true", help="others' windows are tuned as well")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the folder of the results")
    given = parser.parse_args()
    return max(PARTS[part](given) for part in given.part or PARTS)


if __name__ == "__main__":
    sys.exit(main())
