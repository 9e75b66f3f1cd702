"""The tables and the document of bench/router_peers.py. Pure but for the printing."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from peer_load import Cell

CONNECTIONS = (1, 8, 32)
ENVOY = "Envoy"
HOP = "ours, a marked hop"
OWN = "ours, its own sub-model"
DOOR = "ours, a door, one by name"
PREDICTIONS = {k: f"ours, a prediction with {k}" for k in (1, 2, 4)}
Figures = Mapping[str, Mapping[int, Sequence[Cell]]]
"""Cells by row, connections and round."""


def ratios_to(figures: Figures, name: str, base: str, connections: int) -> list[float]:
    """CPU of one row over that of another, round by round; empty where the other does not run."""
    if base not in figures or name not in figures:
        return []
    pairs = zip(figures[name][connections], figures[base][connections], strict=True)
    return [cell.cpu / other.cpu for cell, other in pairs]


def fan_out_ratios(figures: Figures, k: int, base: str, connections: int) -> list[float]:
    """CPU of a prediction with k at all routers over k + 1 requests proxied by `base`, round by round."""
    if base not in figures or PREDICTIONS[k] not in figures:
        return []
    pairs = zip(figures[PREDICTIONS[k]][connections], figures[base][connections], strict=True)
    return [(cell.cpu + cell.behind_cpu) / ((k + 1) * other.cpu) for cell, other in pairs]


def targets_of(figures: Figures) -> dict[str, float]:
    """Over all numbers of connections, the worst median ratio for each target; 1 or less is reached."""
    hop = [ratios_to(figures, HOP, ENVOY, c) for c in CONNECTIONS]
    found = {"our hop over a request proxied by Envoy": hop}
    for k in PREDICTIONS:
        name = f"our prediction with {k} over {k + 1} requests proxied by Envoy"
        found[name] = [fan_out_ratios(figures, k, ENVOY, c) for c in CONNECTIONS]
    return {name: round(max(map(statistics.median, rows)), 3) for name, rows in found.items() if all(rows)}


def document_of(figures: Figures, absent: Mapping[str, str]) -> dict[str, Any]:
    """What is written: every round's CPU, and medians of the rest."""
    rows = {
        name: {str(c): _cells(cells) for c, cells in by_connections.items()}
        for name, by_connections in figures.items()
    }
    to_envoy = {name: _by_connections(partial(ratios_to, figures, name, ENVOY)) for name in figures}
    fan_out = {
        f"over k + 1 of {base}": {
            str(k): _by_connections(partial(fan_out_ratios, figures, k, base)) for k in PREDICTIONS
        }
        for base in (ENVOY, HOP)
    }
    return {
        "unit": "CPU milliseconds per request; by connections; ratios are medians of the rounds' ratios",
        "rows": rows,
        "cpu_over_envoy": to_envoy,
        "prediction_with_k": fan_out,
        "targets": targets_of(figures),
        "not_run": dict(absent),
    }


def _by_connections(ratios: Callable[[int], list[float]]) -> dict[str, float]:
    found = {c: ratios(c) for c in CONNECTIONS}
    return {str(c): round(statistics.median(values), 3) for c, values in found.items() if values}


def _cells(cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "requests_a_round": cells[0].requests,
        "cpu": [round(cell.cpu, 4) for cell in cells],
        "cpu_of_routers_behind": [round(cell.behind_cpu, 4) for cell in cells if cell.behind_cpu],
        "requests_per_second": round(_median(cells, lambda cell: cell.per_second)),
        "p99_ms": round(_median(cells, lambda cell: cell.p99), 3),
        "cpu_of_upstream": round(_median(cells, lambda cell: cell.upstream_cpu), 4),
        "cpu_of_callers": round(_median(cells, lambda cell: cell.caller_cpu), 4),
    }


def _median(cells: Sequence[Cell], figure: Callable[[Cell], float]) -> float:
    return statistics.median(figure(cell) for cell in cells)


# Printing.


def print_report(console: Console, figures: Figures, absent: Mapping[str, str]) -> None:
    console.print(_proxy_table(figures))
    console.print(_fan_out_table(figures))
    callers = [cell.caller_cpu for rows in figures.values() for cells in rows.values() for cell in cells]
    for name, reason in absent.items():
        console.print(f"{name}: not run: {reason}", markup=False)
    for target, ratio in targets_of(figures).items():
        console.print(f"{target}: {ratio:.2f} at worst ({'reached' if ratio <= 1.0 else 'missed'})")
    console.print(f"callers: {statistics.median(callers):.3f} CPU ms per request (h2load, one thread)")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _proxy_table(figures: Figures) -> Table:
    columns = [f"{what}\nc = {c}" for c in CONNECTIONS for what in ("CPU ms", "÷ Envoy", "req/s, p99 ms")]
    table = _table("One request: CPU of the proxy, median and span; requests per second and p99", columns)
    for name, rows in figures.items():
        if name in PREDICTIONS.values():
            continue
        table.add_row(name, *(text for c in CONNECTIONS for text in _proxy_texts(figures, name, c, rows[c])))
    return table


def _proxy_texts(figures: Figures, name: str, connections: int, cells: Sequence[Cell]) -> tuple[str, ...]:
    rate, p99 = _median(cells, lambda cell: cell.per_second), _median(cells, lambda cell: cell.p99)
    ratio = _ratio(ratios_to(figures, name, ENVOY, connections))
    return (_span([cell.cpu for cell in cells]), ratio, f"{rate:,.0f}\n{p99:.2f}")


def _fan_out_table(figures: Figures) -> Table:
    what = ("door", "+ behind", "÷ (k+1) Envoy", "÷ (k+1) hops", "p99 ms")
    table = _table("A prediction with k sub-models", [f"{one}\nc = {c}" for c in CONNECTIONS for one in what])
    for k, name in PREDICTIONS.items():
        if name in figures:
            table.add_row(f"k = {k}", *(text for c in CONNECTIONS for text in _fan_out_texts(figures, k, c)))
    return table


def _fan_out_texts(figures: Figures, k: int, connections: int) -> tuple[str, ...]:
    cells = figures[PREDICTIONS[k]][connections]
    door, behind = _median(cells, lambda cell: cell.cpu), _median(cells, lambda cell: cell.behind_cpu)
    bases = [_ratio(fan_out_ratios(figures, k, base, connections)) for base in (ENVOY, HOP)]
    return (f"{door:.3f}", f"{behind:.3f}", *bases, f"{_median(cells, lambda cell: cell.p99):.2f}")


def _span(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f}\n{min(values):.3f}..{max(values):.3f}"


def _ratio(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else "-"
