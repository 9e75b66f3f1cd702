"""The target as a model folder of Triton's repository."""

from dataclasses import dataclass
from pathlib import Path

from fastserve.api.engine import EngineConfig
from fastserve.api.modelpool import Task
from fastserve.api.routes import Target
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
    write_model(into.place, engine_files(target, into.task, str(files.folder), str(into.socket)))


def engine_files(target: Target, task: Task, checkpoint: str, socket: str) -> dict[str, str]:
    """Triton's model folder of a version: relative path to text."""
    engine = target.engine
    config = EngineConfig(
        task=str(task),
        devices=engine.devices,
        python=engine.python,
        checkpoint=checkpoint,
        socket=socket,
        allow_cpu=engine.allow_cpu,
        max_tokens=engine.max_tokens,
        threads_per_rank=engine.threads_per_rank,
    )
    return {**target.files, "engine.json": config.to_json()}


def socket_name(target: Target) -> str:
    """Short, because the path of a Unix socket is: the start of the digest."""
    return f"{target.digest[:8]}.sock"
