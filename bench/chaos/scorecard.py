"""The scorecard: a table for people, and JSON beside it."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from chaos.scoring import Row

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Terms:
    """Under what the rows were made."""

    rate: float
    wait_seconds: float


def report(rows: Iterable[Row], terms: Terms, result: Path) -> Sequence[Row]:
    """Print and write each row as it comes: a long run that is ended has shown what it saw."""
    console, made = Console(width=160), []
    for row in rows:
        made.append(row)
        console.print(_line(row))
        _write(made, terms, result)
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
    return f"{row.name}: {row.passed} of {row.trials}; {_words(row.short)}"


def _words(figures: object) -> str:
    pairs = figures.items() if isinstance(figures, dict) else ()
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """What never came has no number; JSON knows no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _write(rows: Sequence[Row], terms: Terms, result: Path) -> None:
    document = {
        "requestsPerSecond": terms.rate,
        "declaredWaitSeconds": terms.wait_seconds,
        "cpus": os.cpu_count(),
        "rows": [{**asdict(row), "worst": _finite(row.worst), "whole": _finite(row.whole)} for row in rows],
    }
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(document, indent=2) + "\n")
