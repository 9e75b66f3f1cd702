"""`fastserve train`: runs the lifecycle's trainer in the engine's environment and draws its progress."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastserve.cli.surroundings import Surroundings
from fastserve.cli.terminal import EXIT_BAD_INPUT, EXIT_FAILED, err, errors_as_text, out
from fastserve.local.environment import Installer


def train(
    context: typer.Context,
    data: Annotated[list[Path], typer.Option(help='JSON Lines with "text" and "label". May be repeated.')],
    output: Annotated[
        Path, typer.Option(help="Folder to write: a Hugging Face checkpoint and fastserve.json.")
    ],
    base: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from. Default: all-MiniLM-L6-v2.")
    ] = None,
    head_only: Annotated[
        bool, typer.Option("--head-only", help="Train the head; leave the body as it is.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="At most so many passes over the data.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts in one step.", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="JSON Lines to validate on. Default: a share of the data.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without progress.", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same weights.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all.", min=1)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output folder that is not ours.")
    ] = False,
) -> None:
    """Fine-tune a text classifier on JSON Lines; the folder it writes is what `model.storageUri` names."""
    surroundings: Surroundings = context.obj
    options: dict[str, object] = {
        "--output": output,
        "--epochs": epochs,
        "--batch-size": batch_size,
        "--learning-rate": learning_rate,
        "--validation": validation,
        "--patience": patience,
        "--seed": seed,
        "--threads": threads,
    }
    with errors_as_text():
        installer = Installer(surroundings.folders(None), _say, surroundings.torch_backend)
        parent = base or installer.weights()
        command = [str(installer.engine()), "-m", "fastserve.lifecycle.train", "--base", str(parent)]
    for file in data:
        command += ["--data", str(file)]
    for name, value in options.items():
        command += [] if value is None else [name, str(value)]
    command += ["--head-only"] * head_only + ["--overwrite"] * overwrite
    _draw(command, output)


def _draw(command: list[str], output: Path) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, TextColumn("{task.fields[figures]}"), console=err) as progress,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
    ):
        bar = progress.add_task(output.name, total=None, figures="")
        failed = False
        for event in _events(process):
            failed = failed or event["event"] == "error"
            _show(event, progress, bar)
    if process.returncode != 0:
        raise typer.Exit(EXIT_BAD_INPUT if failed else EXIT_FAILED)


def _events(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    for line in process.stdout or ():
        try:
            yield json.loads(line)
        except ValueError:
            err.print(line.rstrip(), markup=False, highlight=False)


def _show(event: dict[str, Any], progress: Progress, bar: Any) -> None:
    match event["event"]:
        case "step":
            progress.update(bar, completed=event["step"], total=event["steps"])
        case "epoch":
            found = (
                f"validation accuracy {event['validationAccuracy']:.3f}, loss {event['validationLoss']:.3f}"
            )
            progress.update(bar, figures=f"epoch {event['epoch']}: {found}")
        case "done":
            metrics = event["metrics"]
            out.print(
                f"{event['output']}: accuracy {metrics['accuracy']:.3f} on {metrics['rows']} validation rows,"
                f" digest {event['digest'][:12]}",
                highlight=False,
            )
        case "error":
            allowed = f" (allowed: {event['allowed']})" if event.get("allowed") else ""
            err.print(f"{event['field']}: {event['message']}{allowed}", style="red", markup=False)


def _say(step: str) -> None:
    err.print(step, highlight=False)
