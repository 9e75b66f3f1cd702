"""Route tables of pools that are scaled."""

from collections.abc import Mapping

from fastserve.api.modelpool import Limits, Method, Selection, Task
from fastserve.api.routes import EngineTarget, Meaning, Member, RouteTable, Target
from fastserve.api.scaling import PoolScaling, Staff


def scaled_table(staffs: Mapping[str, Staff | None], scaling: PoolScaling | None = None) -> RouteTable:
    """A table whose members have these staffs."""
    return RouteTable(
        pool="news",
        task=Task.TEXT_CLASSIFICATION,
        selection=Selection(),
        method=Method.WEIGHTED_SUM,
        deadline_millis=5000,
        min_members=1,
        limits=Limits(),
        scaling=scaling or PoolScaling(),
        members=tuple(_member(name, staff) for name, staff in staffs.items()),
    )


def _member(name: str, staff: Staff | None) -> Member:
    target = Target(
        digest="d" * 64,
        model_name=f"{name}-dddddddd",
        version="1",
        storage_uri="file:///m",
        files={},
        engine=EngineTarget(devices=("cpu",), python="python3"),
    )
    meaning = Meaning(digest="e" * 64)
    return Member(name=name, meaning=meaning, target=target, proved=(target.digest,), staff=staff)
