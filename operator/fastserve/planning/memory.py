"""How much host memory an instance will take: an estimate, so that what cannot fit is refused at once
instead of being killed by the kernel later.

    instance = weights (as loaded, in FP32, cut over the ranks) + ranks · 450 MiB + Triton 150 MiB
             + router 250 MiB

A rank without a model is an interpreter with torch and its thread pools; a router holds the encoder. Weights
for a GPU pass through host memory while they load, so they count as well.
"""

from collections.abc import Iterable

from fastserve.planning.facts import CheckpointFacts

MIB = 1 << 20
RANK_BYTES = 450 * MIB
TRITON_BYTES = 150 * MIB
ROUTER_BYTES = 250 * MIB

_BYTES_OF_DTYPE = {"float16": 2, "bfloat16": 2, "float64": 8}
_LOADED_BYTES = 4


def loaded_bytes(checkpoint: CheckpointFacts) -> int:
    """Bytes of the weights in memory; the engine computes in FP32 whatever the file's type is."""
    dtype = str(checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype"))
    return checkpoint.weight_bytes * _LOADED_BYTES // _BYTES_OF_DTYPE.get(dtype, _LOADED_BYTES)


def instance_bytes(checkpoint: CheckpointFacts, ranks: int) -> int:
    """Bytes of host memory for one instance: its ranks, its Triton, its router."""
    return loaded_bytes(checkpoint) + ranks * RANK_BYTES + TRITON_BYTES + ROUTER_BYTES


def shortfall(needed: Iterable[int], available: int) -> str:
    """A sentence where the instances and the pool's door need more than there is; empty where they fit."""
    total = sum(needed) + ROUTER_BYTES
    if total <= available:
        return ""
    return f"about {_gib(total)} of memory are needed, and {_gib(available)} are free"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
