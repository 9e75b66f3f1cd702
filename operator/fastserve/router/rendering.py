"""The target as a model folder of Triton's repository."""

from dataclasses import dataclass
from pathlib import Path

from fastserve.api.modelpool import Task
from fastserve.api.routes import Target
from fastserve.router import loading
from fastserve.router.custom_model import read_custom_model, write_custom_model
from fastserve.router.model_files import ModelFiles
from fastserve.router.repository import write_model
from fastserve.router.table import OUTPUTS


@dataclass(frozen=True)
class Rendering:
    """`place` is the folder to write; `socket` is where the engine is to report."""

    place: Path
    socket: Path
    task: Task


def render(target: Target, files: ModelFiles, into: Rendering) -> None:
    """Write the folder. Raises CheckpointError, InvalidSpec, OSError."""
    if target.custom:
        write_custom_model(into.place, read_custom_model(files, OUTPUTS[into.task]))
        return
    write_model(into.place, loading.model_files(target, into.task, str(files.folder), str(into.socket)))
