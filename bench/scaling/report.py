"""Tables for people, JSON and plots beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from scaling.candidates import BOUND, OURS
from scaling.compare import Judged, best_peer

RESULTS = Path(__file__).parent.parent / "results"
mpl.rcParams["svg.hashsalt"] = "fastserve"  # the same data draw the same file
console = Console(width=150)


def new_table(*heads: str) -> Table:
    return Table(*heads, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def show(family: str, load: str, judged: Sequence[Judged]) -> None:
    """One trace family: all scalers."""
    heads = ("SCALER", "IN TIME", "P95 WAIT", "REPLICA-S", "COLD", "FLAPS/H", "LOST", "SETTING")
    table = new_table(*heads)
    for one in judged:
        table.add_row(
            one.scaler,
            f"{one.mean('attainment'):.4f}",
            f"{one.mean('wait_p95'):.3f}",
            f"{one.mean('replica_seconds'):.0f}",
            f"{one.mean('cold'):.0f}",
            f"{one.mean('flaps_per_hour'):.1f}",
            f"{one.mean('lost'):.0f}",
            one.setting,
        )
    console.print(f"{family}, replicas load in {load}", highlight=False)
    console.print(table)


def show_verdicts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Ours beside the best of the others, trace by trace."""
    table = new_table(
        "TRACE", "LOAD", "OURS", "BEST PEER", "THEIRS", "REPLICA-SECONDS RATIO", "95 % INTERVAL"
    )
    for row in rows:
        low, high = row["interval95"]
        table.add_row(
            row["trace"],
            row["load"],
            f"{row['ours']:.4f}",
            row["bestPeer"],
            f"{row['bestPeerAttainment']:.4f}",
            f"{row['replicaSecondsRatio']:.3f}",
            f"{low:.3f} to {high:.3f}",
        )
    console.print(table)


def write(name: str, document: Mapping[str, Any], folder: Path = RESULTS) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def save(figure: Figure, name: str, folder: Path = RESULTS) -> None:
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def draw(
    name: str, title: str, judged: Sequence[Judged], folder: Path, *, pace: float, target: float
) -> None:
    """Load, replicas and waits of the first seed."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    load, replicas, waits = figure.subplots(3, 1, sharex=True)
    ours = next(one for one in judged if one.scaler == OURS)
    bold = {OURS: ("tab:red", 2.0), best_peer(judged).scaler: ("tab:blue", 1.5), BOUND: ("black", 1.0)}
    minutes = [one[0] / 60.0 for one in ours.timeline]
    load.fill_between(minutes, [one[1] / pace for one in ours.timeline], color="lightgrey")
    for one in judged:
        if one.scaler not in bold and one.scaler.startswith(OURS):
            continue
        colour, width = bold.get(one.scaler, (None, 0.6))
        alpha = 1.0 if one.scaler in bold else 0.6
        replicas.plot(
            minutes, [at[2] for at in one.timeline], color=colour, lw=width, alpha=alpha, label=one.scaler
        )
        late = [max(at[3], 0.001) for at in one.timeline]
        waits.plot(minutes, late, color=colour, lw=width, alpha=alpha)
    waits.axhline(target, color="grey", lw=0.8, ls="--")
    waits.set_yscale("log")
    load.set_title(title)
    load.set_ylabel("load, replicas' worth")
    replicas.set_ylabel("replicas")
    replicas.legend(fontsize="small", ncols=4)
    waits.set_ylabel("95th percentile of waits, s")
    waits.set_xlabel("minutes")
    save(figure, name, folder)
