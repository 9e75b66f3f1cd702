"""A Hugging Face checkpoint folder, read so that a rank touches only the bytes that it will hold.

The model is built on the meta device, cut into this rank's part (`plans`), and only then given memory,
tensor by tensor, from slices of the safetensors files.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fastserve.engine.sharding import Span
from fastserve.errors import CheckpointError, CheckpointMissing

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes that there are to read, for this rank."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose config was read; `files` tells in which file each tensor lies."""

    folder: Path
    config: Mapping[str, Any]
    files: Mapping[str, Path]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError where it is missing or something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path.name} is not a JSON object")
    return document


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config.json and where the tensors lie: in model.safetensors, or in the files of
    model.safetensors.index.json. Raises CheckpointError where something is missing or unreadable."""
    if not folder.is_dir():
        raise CheckpointMissing(f"there is no checkpoint folder {folder}")
    config = read_json(folder / "config.json")
    if (folder / INDEX).is_file():
        weight_map = read_json(folder / INDEX).get("weight_map", {})
        files = {name: folder / file for name, file in weight_map.items()}
    else:
        with _opened(folder / SINGLE) as file:
            files = dict.fromkeys(file.keys(), folder / SINGLE)
    if not files:
        raise CheckpointError("the checkpoint holds no tensors")
    return Checkpoint(folder, config, files)


def fill(model: nn.Module, spans: Mapping[str, Span], source: "TensorSource", device: str) -> int:
    """Give every parameter and buffer of `model` (on the meta device) memory on `device` and its values.

    `spans` names the part that this rank holds of each parameter that is cut. Parameters become float32.
    Returns the bytes of this rank's parameters. Raises CheckpointError, naming the tensor, where one is
    missing or has another shape.
    """
    source.plan({name: (parameter, spans.get(name)) for name, parameter in model.named_parameters()})
    total = 0
    for aliases in _aliases(model):
        values = source.read(aliases[0]).to(device=device, dtype=torch.float32)
        parameter = nn.Parameter(values, requires_grad=False)
        total += values.nbytes
        for name in aliases:
            _assign(model, name, parameter)
    for name, buffer in list(model.named_buffers()):
        owner, _, leaf = name.rpartition(".")
        persistent = leaf not in model.get_submodule(owner)._non_persistent_buffers_set
        values = _buffer(leaf, buffer).to(device)
        model.get_submodule(owner).register_buffer(leaf, values, persistent=persistent)
    return total


class TensorSource:
    """Reads slices of a checkpoint's tensors, counts the bytes, and finds a tensor under the names that
    checkpoints of other heads, and older ones, gave it."""

    def __init__(self, checkpoint: Checkpoint, prefix: str, progress: Progress) -> None:
        self._checkpoint = checkpoint
        self._prefix = f"{prefix}."
        self._progress = progress
        self._slices: dict[str, tuple[str, Span | None]] = {}
        self.bytes_done = 0
        self.bytes_total = 0

    def plan(self, wanted: Mapping[str, tuple[Tensor, Span | None]]) -> None:
        """Find every tensor, compare its shape, and add up the bytes to read."""
        for name, (parameter, span) in wanted.items():
            stored = self._stored_name(name)
            shape = list(parameter.shape)
            if span is not None:
                shape[span.dim] = span.whole
            with _opened(self._checkpoint.files[stored]) as file:
                found = list(_slice_of(file, stored).get_shape())
            if found != shape:
                raise CheckpointError(f"tensor {stored} has the shape {found}; the config asks for {shape}")
            self._slices[name] = (stored, span)
            self.bytes_total += parameter.numel() * 4
        self._progress(0, self.bytes_total)

    def read(self, name: str) -> Tensor:
        """This rank's part of a tensor, copied out of the file."""
        stored, span = self._slices[name]
        # Opened for each tensor: the file is mapped, and closing it gives the pages back, so that the
        # greatest resident set is this rank's part and one tensor, not the part and the whole file.
        with _opened(self._checkpoint.files[stored]) as file:
            part = _slice_of(file, stored)
            match span:
                case None:
                    values = part[:]
                case Span(0, start, stop, _):
                    values = part[start:stop]
                case Span(_, start, stop, _):
                    values = part[:, start:stop]
            owned = torch.empty(values.shape, dtype=values.dtype).copy_(values)
        self.bytes_done += owned.numel() * 4
        self._progress(self.bytes_done, self.bytes_total)
        return owned

    def _stored_name(self, name: str) -> str:
        """`name` in the checkpoint. The encoder's prefix is there or not, depending on the class that
        was saved; old BERTs call a LayerNorm's weight gamma and its bias beta."""
        bare = name.removeprefix(self._prefix)
        for candidate in (name, bare, self._prefix + bare):
            old = candidate.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
            for spelling in (candidate, old):
                if spelling in self._checkpoint.files:
                    return spelling
        raise CheckpointError(f"tensor {name} is missing in the checkpoint")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing in the checkpoint folder") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error


def _slice_of(file: Any, name: str) -> Any:
    try:
        return file.get_slice(name)
    except SafetensorError as error:
        raise CheckpointError(f"tensor {name} is not in the file that the index names: {error}") from error


def _aliases(model: nn.Module) -> list[list[str]]:
    """Names of the parameters; tied ones are one parameter with several names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return list(names.values())


def _assign(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, parameter)


def _buffer(leaf: str, buffer: Tensor) -> Tensor:
    """Values of a buffer that no checkpoint holds, because they follow from its shape."""
    if leaf == "position_ids":
        return torch.arange(buffer.shape[-1]).expand(buffer.shape)
    if leaf == "token_type_ids":
        return torch.zeros(buffer.shape, dtype=torch.long)
    raise CheckpointError(f"buffer {leaf} of this architecture is not known")
