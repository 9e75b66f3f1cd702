"""The scorecard: a table for people, and JSON beside it."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from chaos.scoring import Planned, Row

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Terms:
    """Under what the rows were made."""

    rate: float
    wait_seconds: float


def report(
    rows: Iterable[Planned], terms: Terms, result: Path, only: frozenset[str] = frozenset()
) -> Sequence[Row]:
    """Make, print and write each row: a long run that is ended has shown what it saw. Where `only` some are
    asked for, the others of an earlier run stay in the file."""
    console, made, written = Console(width=160), [], _rows_in(result) if only else {}
    for planned in rows:
        if only and planned.name not in only:
            continue
        row = planned.make()
        made.append(row)
        console.print(_line(row), markup=False)
        written[planned.name] = _as_json(row)
        _write(list(written.values()), terms, result)
    table = Table(
        "FAULT", "N", "PASSED", "FELL SHORT", "WORST", "TOGETHER", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for row in made:
        table.add_row(
            row.name,
            str(row.trials),
            str(row.passed),
            _words(row.short),
            _words(row.worst),
            _words(row.whole),
        )
    console.print(table)
    return made


def _line(row: Row) -> str:
    told = "".join(f"\n  {count} times {words}" for words, count in row.told.items())
    return f"{row.name}: {row.passed} of {row.trials}; {_words(row.short)}{told}"


def _words(figures: object) -> str:
    pairs = figures.items() if isinstance(figures, dict) else ()
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """What never came has no number; JSON knows no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _rows_in(result: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads(result.read_text())["rows"] if result.exists() else []
    return {row["name"]: row for row in rows}


def _as_json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "worst": _finite(row.worst), "whole": _finite(row.whole)}


def _write(rows: Sequence[dict[str, Any]], terms: Terms, result: Path) -> None:
    document = {
        "requestsPerSecond": terms.rate,
        "declaredWaitSeconds": terms.wait_seconds,
        "cpus": os.cpu_count(),
        "rows": rows,
    }
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(document, indent=2) + "\n")
