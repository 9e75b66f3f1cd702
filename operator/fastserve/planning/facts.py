"""What the plan must know besides the specs, as values that someone else has read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastserve.errors import CheckpointError, InvalidSpec


@dataclass(frozen=True)
class CheckpointFacts:
    """A checkpoint folder, its weights unread. `config` is config.json; `digest` identifies the weights;
    `weight_bytes` is the size of the safetensors files."""

    config: Mapping[str, Any]
    digest: str
    weight_bytes: int


@dataclass(frozen=True)
class EngineHome:
    """Where the engine's code lies. `python` is the interpreter of the ranks. `stub_paths` come first on
    ``sys.path`` in Triton's Python stub: numpy for the stub, and the folder that holds ``fastserve``."""

    python: str
    stub_paths: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """What there is to allot. `memory_bytes` is what is free; `gpus` are names that
    ``CUDA_VISIBLE_DEVICES`` takes, e.g. ``GPU-4f1c…`` or ``0``."""

    cpus: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """All facts for a plan. `checkpoints` are by sub-model name: facts, or why there are none.
    `example_digests` identify the files that ``examplesFrom`` names, by sub-model name, or say what is
    wrong with them."""

    checkpoints: Mapping[str, CheckpointFacts | CheckpointError]
    home: EngineHome
    machine: Machine
    example_digests: Mapping[str, str | InvalidSpec] = field(default_factory=dict)
