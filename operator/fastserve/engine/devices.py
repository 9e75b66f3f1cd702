"""Which device each rank gets: the one place that knows.

Asked for are names, ``cpu`` or ``cuda:I``, where I counts the devices that this process may see.
`CUDA_VISIBLE_DEVICES` may hold indices or UUIDs (a device plugin writes UUIDs, and ``MIG-…`` for a
slice), so a rank is pinned by handing on exactly its entry of that list, never an index of ours: inside
the rank its device is always ``cuda:0``. Pure but for `count_present`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastserve.errors import DeviceMissing, EngineError

CPU = "cpu"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class RankDevice:
    """`name` as it is reported, `entry` of CUDA_VISIBLE_DEVICES ("" for a rank on the CPU)."""

    name: str
    entry: str = ""

    @property
    def torch_name(self) -> str:
        """The device's name inside the rank, which sees no other."""
        return "cuda:0" if self.entry else CPU


@dataclass(frozen=True)
class Placement:
    """One device per rank, and the backend that joins them: nccl between GPUs, gloo between CPUs."""

    devices: tuple[RankDevice, ...]
    backend: str


def place(asked: Sequence[str], visible: Sequence[str], *, allow_cpu: bool) -> Placement:
    """Devices for the ranks.

    Raises DeviceMissing where a GPU was asked for that is not among `visible`, unless `allow_cpu`, and
    EngineError where GPUs and CPUs are mixed or a GPU is named twice.
    """
    wanted = [_index(name) for name in asked]
    gpus = [index for index in wanted if index is not None]
    if not gpus:
        return _on_cpu(len(asked))
    if len(gpus) != len(wanted):
        raise EngineError(f"ranks on GPUs and on CPUs cannot form one group: {', '.join(asked)}")
    if len(set(gpus)) != len(gpus):
        raise EngineError(f"two ranks cannot share one GPU: {', '.join(asked)}")
    missing = [index for index in gpus if index >= len(visible)]
    if not missing:
        return Placement(tuple(RankDevice(f"cuda:{i}", visible[i]) for i in gpus), "nccl")
    if allow_cpu:
        return _on_cpu(len(asked))
    names = ", ".join(f"cuda:{index}" for index in missing)
    raise DeviceMissing(f"{names} asked for, but {len(visible)} GPUs are visible to the engine")


def visible_entries(environ: Mapping[str, str], present: int) -> tuple[str, ...]:
    """The devices CUDA would show: entries of CUDA_VISIBLE_DEVICES up to the first that is not there,
    all `present` ones where it is not set. UUIDs cannot be checked here; the rank does it."""
    if VISIBLE not in environ:
        return tuple(str(index) for index in range(present))
    entries: list[str] = []
    for entry in (part.strip() for part in environ[VISIBLE].split(",")):
        is_index = entry.isdecimal()
        if present == 0 or (is_index and int(entry) >= present):
            break
        if not is_index and not entry.startswith(("GPU-", "MIG-")):
            break
        entries.append(entry)
    return tuple(entries)


def count_present(root: Path = Path("/")) -> int:
    """NVIDIA devices of this machine, from the driver's own files, so that no CUDA is needed to count.
    A container may show either the driver's list or only the device nodes."""
    listed = root / "proc/driver/nvidia/gpus"
    in_driver = len(list(listed.iterdir())) if listed.is_dir() else 0
    nodes = [node for node in (root / "dev").glob("nvidia*") if node.name.removeprefix("nvidia").isdecimal()]
    return len(nodes) or in_driver


def _on_cpu(ranks: int) -> Placement:
    return Placement((RankDevice(CPU),) * ranks, "gloo")


def _index(name: str) -> int | None:
    if name == CPU:
        return None
    kind, _, index = name.partition(":")
    if kind != "cuda" or not index.isdecimal():
        raise EngineError(f"{name!r} is not a device (cpu, or cuda:I)")
    return int(index)
