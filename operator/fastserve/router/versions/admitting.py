"""Whether memory holds a candidate beside the version that serves."""

from dataclasses import dataclass
from pathlib import Path

from fastserve.api.engine import EngineReport
from fastserve.router.model_files import ModelPlaces, found_files
from fastserve.router.versions.driving import Drive

RESERVE_SHARE, RESERVE_BYTES = 0.1, 256 << 20
UNKNOWN_FACTOR = 1.2
"""A version whose predecessor told nothing needs so many times the bytes of its weights."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of the host that the candidate needs, that are free, and that there are."""

    needed: int
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether the candidate is loaded beside what serves, and why."""

    beside: bool
    because: str


def admit(room: Room) -> Admission:
    """A tenth of the memory, at least 256 MiB, stays free; where nothing is known of it, both are tried."""
    if not room.total:
        return Admission(True, "its engine does not tell how much memory is free")
    reserve = max(RESERVE_BYTES, int(room.total * RESERVE_SHARE))
    beside = room.needed <= room.free - reserve
    told = f"needed are {room.needed // _MIB} MiB, free {room.free // _MIB}, kept free {reserve // _MIB}"
    return Admission(beside, told if beside else f"no room for two: {told}; leaving the pool first")


def needed_bytes(report: EngineReport | None, before: int, after: int) -> int:
    """Of the host: what the version before took at its most, by the ratio of the weights.

    `before` and `after` are the bytes of both versions' weights."""
    took = sum(
        max(rank.memory_bytes, rank.peak_load_bytes)
        for rank in (report.ranks if report else ())
        if rank.device == "cpu"
    )
    return int(took * after / before) if took and before else int(after * UNKNOWN_FACTOR)


def admit_beside(drive: Drive, report: EngineReport | None, places: ModelPlaces) -> Admission:
    """The decision for this router; reads the sizes of both versions' weights. `report`: the stable one's."""
    if drive.rollout is not None and drive.rollout.recreate:
        return Admission(False, "the sub-model's rollout is of the type Recreate: leaving the pool first")
    sizes = []
    for target in (drive.stable, drive.target):
        files = found_files(target, places)
        sizes.append(_weights(files.folder) if files is not None else 0)
    free, total = (report.host_free_bytes, report.host_total_bytes) if report else (0, 0)
    return admit(Room(needed_bytes(report, *sizes), free, total))


def _weights(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*.safetensors") if path.is_file())
    except OSError:
        return 0
