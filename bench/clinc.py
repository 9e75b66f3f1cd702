"""CLINC150: ten specialists behind one door, beside one undivided model that knows all 150 intents.

Every validation query and every out-of-scope one goes through the HTTP door of a real pool. Trained models
are kept in the work folder; the first run takes about a quarter of an hour on two cores, mostly training.

    python bench/clinc.py --data FOLDER [--work FOLDER]      writes bench/results/clinc.json
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table

from clinc_figures import Answers, Selection, answer_figures, selection_figures
from clinc_prepare import POOL, SETTINGS, UNDIVIDED, Clinc, Prepared, Trainer, prepare, read_clinc
from clinc_serve import Door, served
from fastserve.lifecycle.artefact import read_artefact
from fastserve.local.environment import Installer
from fastserve.local.folders import Folders

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "clinc.json"
TARGETS = {"selection top-1": 0.96, "out-of-scope AUROC": 0.96, "accuracy at k=2": 0.944}
WARM_UP = 50
"""Queries of the training split before anything is measured."""


def trainer_of(console: Console) -> Trainer:
    """The engine's environment and the base, as `fastserve train` takes them."""
    data = os.environ.get("FASTSERVE_DATA")
    folders = Folders.of_platform(data=Path(data) if data else None)
    installer = Installer(folders, console.print, os.environ.get("UV_TORCH_BACKEND", ""))
    return Trainer(installer.engine(), installer.weights())


def warm_up(door: Door, clinc: Clinc) -> None:
    door.ask("/v1/predict", [text for text, _ in clinc.train[:WARM_UP]])


def ask_pool(door: Door, clinc: Clinc) -> tuple[Selection, dict[str, Answers], float]:
    """Selection, answers by k, and the door's CPU per text that it encodes for the first time."""
    warm_up(door, clinc)
    texts = [text for text, _ in clinc.judged]
    domains = [clinc.domain_of[intent] for _, intent in clinc.judged]
    intents = [intent for _, intent in clinc.judged]
    known = door.ask("/v1/route", texts)
    selection = selection_figures(known, door.ask("/v1/route", clinc.strangers), domains)
    answers = {f"k={k}": answer_figures(door.ask("/v1/predict", texts, topK=k), intents) for k in (1, 2, 3)}
    return selection, answers, known.cpu_millis


def ask_undivided(door: Door, clinc: Clinc) -> Answers:
    """The one model's answers, its encodings remembered as the pool's were."""
    warm_up(door, clinc)
    texts = [text for text, _ in clinc.judged]
    door.ask("/v1/route", texts)
    return answer_figures(door.ask("/v1/predict", texts, topK=1), [intent for _, intent in clinc.judged])


def run(clinc: Clinc, prepared: Prepared) -> dict[str, Any]:
    """All figures; no row of the data."""
    with served(prepared.pool) as door:
        selection, answers, route_cpu = ask_pool(door, clinc)
    with served(prepared.undivided) as door:
        undivided = ask_undivided(door, clinc)
    return {
        "queries": {"known": len(clinc.judged), "out of scope": len(clinc.strangers)},
        "cores": os.cpu_count(),
        "training": {**SETTINGS, "metrics": _metrics(prepared)},
        "selection": asdict(selection),
        "answers": {name: asdict(figures) for name, figures in answers.items()},
        UNDIVIDED: asdict(undivided),
        "router CPU ms of a route with its encoding": route_cpu,
        "targets": TARGETS,
        "reached": {
            "selection top-1": selection.top1,
            "out-of-scope AUROC": selection.oos_auroc,
            "accuracy at k=2": answers["k=2"].accuracy,
        },
    }


def _metrics(prepared: Prepared) -> dict[str, Any]:
    artefacts = {name: read_artefact(model) for name, model in prepared.models.items()}
    return {
        name: {key: artefact.metrics[key] for key in ("rows", "accuracy", "loss", "ece")}
        for name, artefact in artefacts.items()
        if artefact is not None
    }


def show(figures: dict[str, Any], console: Console) -> None:
    columns = ("accuracy", "ece", "asked", "failed", "p50_millis", "p99_millis", "router_cpu_millis")
    table = Table("", *(name.replace("_", " ") for name in columns), title=f"{POOL}: combined intents")
    rows = {**figures["answers"], UNDIVIDED: figures[UNDIVIDED]}
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.4g}" for column in columns))
    console.print(table)
    chosen = Table("selection", "", title=f"{POOL}: selection")
    for name, value in figures["selection"].items():
        chosen.add_row(name.replace("_", " "), f"{value:.4g}")
    console.print(chosen)
    for name, target in figures["targets"].items():
        value = figures["reached"][name]
        word = "reached" if value >= target else "missed"
        console.print(f"{name}: {value:.4f}, target {target} {word}", highlight=False)


def main(console: Console) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="CLINC150 through a real pool.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "clinc150")
    parser.add_argument("--work", type=Path, default=user_cache_path("fastserve") / "bench-clinc")
    given = parser.parse_args()
    try:
        clinc = read_clinc(given.data)
    except FileNotFoundError as error:
        console.print(f"{error.filename} is missing: --data names the folder of CLINC150", style="red")
        return 2
    prepared = prepare(clinc, trainer_of(console), given.work, console)
    figures = run(clinc, prepared)
    show(figures, console)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Console()))
