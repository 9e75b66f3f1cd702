"""CLINC150 as a pool: ten specialists of ten domains and one undivided model, trained once and kept.

What is made lies in a work folder under the digest of the data, the settings and the base, so that a
second run finds it. Two trainings of one thread each at a time: on two cores that is a third quicker than
one of two threads.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fastserve.api.identity import API_VERSION, digest_of
from fastserve.lifecycle.artefact import file_digest, folder_digest

SETTINGS = {
    "--epochs": "4",
    "--batch-size": "32",
    "--learning-rate": "0.0005",
    "--validation-share": "0.1",
    "--max-tokens": "64",
    "--threads": "1",
}
"""Found on rows of the training split that were held out."""
AT_ONCE = 2
UNDIVIDED = "undivided"
POOL = "clinc"

Rows = tuple[tuple[str, str], ...]
"""(text, intent)."""


@dataclass(frozen=True)
class Clinc:
    """The data set. `domains` has the intents of each domain, `strangers` fit none of them."""

    train: Rows
    judged: Rows
    strangers: tuple[str, ...]
    domains: Mapping[str, tuple[str, ...]]

    @property
    def domain_of(self) -> dict[str, str]:
        return {intent: domain for domain, intents in self.domains.items() for intent in intents}


@dataclass(frozen=True)
class Trainer:
    """What trains: the engine's interpreter and the base."""

    python: Path
    base: Path


@dataclass(frozen=True)
class Prepared:
    """Two folders of YAML, and what the trainings said of themselves."""

    pool: Path
    undivided: Path
    models: Mapping[str, Path]


def read_clinc(folder: Path) -> Clinc:
    """Read ``clinc150.json`` and ``domains.json``; raises FileNotFoundError."""
    document = json.loads((folder / "clinc150.json").read_text("utf-8"))
    domains = json.loads((folder / "domains.json").read_text("utf-8"))
    return Clinc(
        train=tuple((text, intent) for text, intent in document["train"]),
        judged=tuple((text, intent) for text, intent in document["val"]),
        strangers=tuple(text for text, _ in document["oos_val"]),
        domains={name.replace("_", "-"): tuple(intents) for name, intents in domains.items()},
    )


def prepare(clinc: Clinc, trainer: Trainer, work: Path, console: Console) -> Prepared:
    """Write the data, train what is not there yet, write the YAML."""
    files = write_data(clinc, work / "data")
    base = folder_digest(trainer.base)
    models = {
        name: work / "models" / digest_of({"data": file_digest(file), "base": base, **SETTINGS})[:16]
        for name, file in files.items()
    }
    missing = [name for name, model in models.items() if not (model / "fastserve.json").exists()]
    # The undivided model takes longest, so it begins.
    missing.sort(key=lambda name: name != UNDIVIDED)
    with ThreadPoolExecutor(AT_ONCE) as workers:
        for name in workers.map(lambda name: _train(trainer, name, files[name], models[name]), missing):
            console.print(f"trained {name}")
    pool = write_yaml(work / "pool", {name: (files[name], models[name]) for name in clinc.domains})
    few = work / "data" / "one-of-each.jsonl"
    few.write_text(_lines({intent: (text, intent) for text, intent in clinc.train}.values()), "utf-8")
    undivided = write_yaml(work / "undivided", {UNDIVIDED: (few, models[UNDIVIDED])})
    return Prepared(pool, undivided, models)


def write_data(clinc: Clinc, folder: Path) -> dict[str, Path]:
    """One file of training rows per domain, and one of all; by name."""
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Sequence[tuple[str, str]]] = {
        name: [row for row in clinc.train if row[1] in intents] for name, intents in clinc.domains.items()
    }
    kept[UNDIVIDED] = clinc.train
    for name, rows in kept.items():
        (folder / f"{name}.jsonl").write_text(_lines(rows), "utf-8")
    return {name: folder / f"{name}.jsonl" for name in kept}


def _lines(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)


def _train(trainer: Trainer, name: str, data: Path, output: Path) -> str:
    paths = ["--data", str(data), "--base", str(trainer.base), "--output", str(output)]
    options = [word for pair in SETTINGS.items() for word in pair]
    command = [str(trainer.python), "-m", "fastserve.lifecycle.train", *paths, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the training of {name} failed: {done.stdout.splitlines()[-1:]}")
    return name


def write_yaml(folder: Path, members: Mapping[str, tuple[Path, Path]]) -> Path:
    """A pool of members {name: (examples, model)}; everything is answered, so that scores can judge."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = {
        "apiVersion": API_VERSION,
        "kind": "ModelPool",
        "metadata": {"name": POOL},
        "spec": {"selection": {"minScore": "0", "topK": 2}},
    }
    documents = [pool, *(_sub_model(name, *paths) for name, paths in members.items())]
    # JSON is YAML.
    (folder / "pool.yaml").write_text("\n---\n".join(json.dumps(one, indent=1) for one in documents) + "\n")
    return folder


def _sub_model(name: str, examples: Path, model: Path) -> dict[str, object]:
    return {
        "apiVersion": API_VERSION,
        "kind": "SubModel",
        "metadata": {"name": name},
        "spec": {
            "poolRef": {"name": POOL},
            "examplesFrom": {"storageUri": f"file://{examples.resolve()}"},
            "model": {"storageUri": f"file://{model.resolve()}"},
            "engine": {"maxTokens": int(SETTINGS["--max-tokens"])},
        },
    }
