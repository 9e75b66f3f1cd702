"""What runs, as people read it."""

from pathlib import Path

from cluster import gpus
from cluster.bringing_up import Cluster, node_missing
from cluster.failures import ClusterFailed
from cluster.processes import Record

KIB_PER_MIB = 1024


def status(cluster: Cluster) -> tuple[str, bool]:
    """The state of the cluster in lines, and whether all of it is well."""
    names = cluster.processes.names()
    if not names:
        return "the cluster is down: make cluster", False
    lines = [_program(name, cluster.processes.record(name)) for name in names]
    well = all(cluster.processes.alive(name) for name in names)
    try:
        found = cluster.api.list("nodes")
    except ClusterFailed as failed:
        return "\n".join([*lines, f"the API does not answer: {failed}"]), False
    for node in found:
        name = node["metadata"]["name"]
        missing = node_missing(node) if name.startswith("fastserve-") else ""
        well = well and not missing
        lines.append(
            f"{name:<26}{missing or 'Ready'}, {node['status']['allocatable'].get(gpus.RESOURCE, 0)} GPUs"
        )
    return "\n".join(lines), well


def environment(cluster: Cluster) -> str:
    """Lines for the shell's eval."""
    places = cluster.places
    return f'export KUBECONFIG="{places.kubeconfig}"\nexport PATH="{places.programs}:$PATH"'


def resident_mebibytes(status_file: str) -> int:
    """VmRSS of the text of /proc/PID/status; 0 where there is none."""
    for line in status_file.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // KIB_PER_MIB
    return 0


def _program(name: str, record: Record | None) -> str:
    if record is None or not record.alive():
        return f"{name:<26}not running"
    memory = resident_mebibytes(Path(f"/proc/{record.pid}/status").read_text())
    return f"{name:<26}running, pid {record.pid}, {memory} MiB"
