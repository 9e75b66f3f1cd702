"""Ranks and their devices.

Rank r of an instance runs on ``cuda:r`` of the GPUs that the instance was allotted, and on ``cpu`` where
it asked for none. Every rank holds one part of every layer (Megatron-LM, Shoeybi et al. 2019), so a degree
must divide the heads and the hidden sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastserve.api.families import check_degree
from fastserve.api.submodel import EngineType, SubModelSpec
from fastserve.errors import DeviceMissing, InvalidSpec
from fastserve.planning.facts import CheckpointFacts

CPU = "cpu"


@dataclass(frozen=True)
class ShardLayout:
    """The ranks of one instance: rank r runs on `devices[r]`, which is ``cpu`` or ``cuda:I``, I counting
    `gpus`, the GPUs that the instance may see."""

    devices: tuple[str, ...]
    gpus: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        return len(self.devices)


def wanted_devices(spec: SubModelSpec) -> tuple[str, ...]:
    """The devices that the spec asks for, one per rank."""
    ranks = range(spec.parallelism.tensor)
    return tuple(CPU if spec.gpu is None else f"cuda:{rank}" for rank in ranks)


def shard_layout(
    name: str, spec: SubModelSpec, checkpoint: CheckpointFacts, free_gpus: Sequence[str]
) -> ShardLayout:
    """The layout of one instance of sub-model `name`, which takes the first of `free_gpus` it needs.

    Raises InvalidSpec where the degree does not divide the checkpoint or the GPUs are parts of one, and
    DeviceMissing where there are too few GPUs and ``engine.allowCpu`` is not set.
    """
    _check_degree(spec, checkpoint)
    devices = wanted_devices(spec)
    if spec.gpu is None:
        return ShardLayout(devices)
    if spec.gpu.shared and len(devices) > 1:
        raise InvalidSpec(
            "spec.parallelism.tensor",
            f"{name} cuts its model over parts of one GPU ({spec.gpu.resource_name})",
            "1, or a resource of whole GPUs",
        )
    if len(free_gpus) >= len(devices):
        return ShardLayout(devices, tuple(free_gpus[: len(devices)]))
    if spec.engine.allow_cpu:
        return ShardLayout((CPU,) * len(devices))
    raise DeviceMissing(
        f"{name} needs {len(devices)} GPUs for each replica, and {len(free_gpus)} are free;"
        " engine.allowCpu would let it serve on the CPU"
    )


def _check_degree(spec: SubModelSpec, checkpoint: CheckpointFacts) -> None:
    if spec.engine.type is EngineType.CUSTOM:
        return  # one rank, by the spec, and no config.json
    try:
        check_degree(checkpoint.config, spec.parallelism.tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidSpec(
            "spec.model.storageUri", f"config.json does not tell the model's sizes: {error!r}"
        ) from error
