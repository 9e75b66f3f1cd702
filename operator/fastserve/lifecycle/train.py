"""``python -m fastserve.lifecycle.train``: a classifier from a base and labelled texts.

Run with the interpreter of the engine's environment. Progress goes to stdout as JSON Lines: ``start``,
``step``, ``epoch``, then ``done`` or ``error`` (exit code 2). The output is a Hugging Face folder with
``fastserve.json``; it appears whole or not at all. The same seed, data and threads give the same weights.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastserve.lifecycle import checkpoint
from fastserve.lifecycle.arguments import Arguments, count_between, number_between
from fastserve.lifecycle.artefact import (
    RECORD,
    Artefact,
    check_replaceable,
    folder_digest,
    folder_made_whole,
    origin_of,
    write_artefact,
)
from fastserve.lifecycle.dataset import Dataset, check_learnable, check_same_labels, read_dataset, split
from fastserve.lifecycle.fitting import FitSettings, Fitted, Task, fit
from fastserve.lifecycle.learners import HeadOnly, Learner, WholeModel
from fastserve.lifecycle.progress import Emit, run_and_report


@dataclass(frozen=True)
class Order:
    """What to train. `validation` is a file of its own; without it `validation_share` is held out."""

    data: tuple[Path, ...]
    base: Path
    output: Path
    fit: FitSettings
    max_tokens: int
    head_only: bool
    validation: Path | None
    validation_share: float


@dataclass(frozen=True)
class Lesson:
    """The order's data, ready to learn from."""

    dataset: Dataset
    texts: tuple[str, ...]
    task: Task


def read_lesson(order: Order) -> Lesson:
    """Read and check the data, and hold some of it out; raises InvalidSpec."""
    dataset = read_dataset(order.data, "data")
    check_learnable(dataset)
    if order.validation is None:
        learn, judged = split(dataset.rows, order.validation_share, order.fit.seed)
    else:
        validation = read_dataset([order.validation], "validation")
        check_same_labels(validation, dataset.labels)
        learn, judged = dataset.rows, validation.rows
    place = {label: number for number, label in enumerate(dataset.labels)}
    rows = (*learn, *judged)
    truth = [place[row.label] for row in rows]
    task = Task(range(len(learn)), range(len(learn), len(rows)), truth, dataset.labels)
    return Lesson(dataset, tuple(row.text for row in rows), task)


def train(order: Order, emit: Emit) -> Mapping[str, object]:
    """Train, write the folder, return what is worth telling. Raises InvalidSpec, CheckpointError."""
    config = checkpoint.check_base(order.base)
    limit = checkpoint.token_limit(config, order.max_tokens)
    lesson = read_lesson(order)
    emit(
        {
            "event": "start",
            "labels": list(lesson.dataset.labels),
            "rows": len(lesson.task.learn),
            "validationRows": len(lesson.task.judge),
            "epochs": order.fit.epochs,
        }
    )
    torch.manual_seed(order.fit.seed)
    torch.use_deterministic_algorithms(mode=True)
    model = checkpoint.load_classifier(order.base, lesson.dataset.labels)
    tokens = checkpoint.tokenise(order.base, lesson.texts, limit)
    learner: Learner = HeadOnly(model, tokens) if order.head_only else WholeModel(model, tokens)
    fitted = fit(learner, lesson.task, order.fit, emit)
    with folder_made_whole(order.output) as folder:
        checkpoint.save_classifier(model, order.base, folder)
        artefact = _artefact(order, lesson, fitted, folder)
        write_artefact(folder, artefact)
    return {"output": str(order.output), "digest": artefact.digest, "metrics": artefact.metrics}


def _artefact(order: Order, lesson: Lesson, fitted: Fitted, folder: Path) -> Artefact:
    settings: dict[str, Any] = {
        "seed": order.fit.seed,
        "epochs": order.fit.epochs,
        "bestEpoch": fitted.epoch,
        "batchSize": order.fit.batch_size,
        "learningRate": order.fit.learning_rate,
        "patience": order.fit.patience,
        "maxTokens": order.max_tokens,
        "headOnly": order.head_only,
        "threads": torch.get_num_threads(),
    }
    return Artefact(
        digest=folder_digest(folder),
        parent=origin_of(order.base),
        metrics=fitted.metrics.to_json(),
        data={"digest": lesson.dataset.digest, "rows": len(lesson.dataset.rows)},
        settings=settings,
    )


def parser() -> Arguments:
    parser = Arguments("fastserve.lifecycle.train", "Train a text classifier.")
    option = parser.add_argument
    option("--data", type=Path, nargs="+", action="extend", required=True, metavar="FILE")
    option("--base", type=Path, required=True, metavar="DIR")
    option("--output", type=Path, required=True, metavar="DIR")
    option("--overwrite", action="store_true", help="replace a folder that FastServe did not write")
    option("--head-only", action="store_true", help="keep the body as it is: quicker, less exact")
    option("--epochs", type=count_between(1, 10_000))
    option("--batch-size", type=count_between(1, 4096), default=16)
    option("--learning-rate", type=number_between(1e-8, 1.0))
    option("--max-tokens", type=count_between(2, 8192), default=128)
    option("--validation", type=Path, metavar="FILE")
    option("--validation-share", type=number_between(0.01, 0.5), default=0.15)
    option("--patience", type=count_between(1, 10_000), default=3)
    option("--seed", type=count_between(0, 2**31 - 1), default=0)
    option("--threads", type=count_between(1, 1024))
    return parser


def order_of(given: argparse.Namespace) -> Order:
    """The options as an order. Epochs and rate differ by mode: a head is small and learns in big steps."""
    epochs, rate = (100, 3e-3) if given.head_only else (12, 3e-4)
    return Order(
        data=tuple(given.data),
        base=given.base,
        output=given.output,
        fit=FitSettings(
            epochs=given.epochs or epochs,
            batch_size=given.batch_size,
            learning_rate=given.learning_rate or rate,
            patience=given.patience,
            seed=given.seed,
        ),
        max_tokens=given.max_tokens,
        head_only=given.head_only,
        validation=given.validation,
        validation_share=given.validation_share,
    )


def main(words: Sequence[str]) -> int:
    """The exit code."""

    def program(emit: Emit) -> Mapping[str, object]:
        given = parser().read(words)
        if not given.overwrite:
            check_replaceable(given.output, RECORD)
        if given.threads:
            torch.set_num_threads(given.threads)
        checkpoint.quiet_transformers()
        return train(order_of(given), emit)

    return run_and_report(program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
