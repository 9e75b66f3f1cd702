"""What a killed run leaves behind, found by marks that only this cluster makes, and ended.

Shims carry the path of our containerd's socket, containers live in cgroups named after those that containerd
keeps a folder for, network namespaces are named in what the CNI plugins wrote down for our networks, mounts
lie below our folder. A container outlives a shim that was killed, so shims alone are not enough.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

from cluster import network
from cluster.commands import run, succeeds
from cluster.failures import ClusterFailed
from cluster.node import cgroup_hierarchies
from cluster.places import Node

TASKS = Path("io.containerd.runtime.v2.task") / "k8s.io"
CNI_RESULTS = Path("/var/lib/cni/results")
LINKS_OF_LOGS = Path("/var/log/containers")
KILL_SECONDS = 20
MOUNTS = Path("/proc/self/mountinfo")


def clear(node: Node) -> None:
    """End the pods of `node` and remove their namespaces, mounts and links; its images stay.

    To be called when the node's containerd and kubelet have ended.
    """
    _end_processes(node)
    network.remove_ports(node)
    _remove_network_namespaces(node)
    _remove_sockets_of_shims(node)
    unmount_below(node.folder)
    _remove_cgroups(node)
    for folder in (node.containerd_state, node.kubelet_root, node.logs_of_pods, node.leases):
        shutil.rmtree(folder, ignore_errors=True)
    _remove_links_of_logs(node)


def pids_of_shims(node: Node, processes: Path = Path("/proc")) -> list[int]:
    """The containerd shims that were started for this node's socket."""
    wanted = str(node.socket)
    commands = {int(f.name): _words(f / "cmdline") for f in processes.iterdir() if f.name.isdecimal()}
    return [pid for pid, words in commands.items() if "containerd-shim" in words[0] and wanted in words[1:]]


def pids_in_cgroups(node: Node) -> list[int]:
    """All processes in the cgroups of the node's containers, or below them."""
    found: set[int] = set()
    for folder in _cgroups(node):
        for procs in folder.rglob("cgroup.procs"):
            found.update(int(pid) for pid in _read(procs).split())
    return sorted(found)


def mounts_below(folder: Path, table: str) -> list[str]:
    """Mount points below `folder` in the text of a mountinfo, the deepest first."""
    prefix = f"{folder}/"
    points = [line.split()[4].replace("\\040", " ") for line in table.splitlines()]
    return sorted((point for point in points if point.startswith(prefix)), key=len, reverse=True)


def unmount_below(folder: Path) -> None:
    for point in mounts_below(folder, MOUNTS.read_text()):
        if not succeeds(["umount", point]):
            run(["umount", "--lazy", point])


def _end_processes(node: Node) -> None:
    """Kill until none is left: a shim that dies may leave a container, a container may fork."""
    deadline = time.monotonic() + KILL_SECONDS
    while pids := [*pids_of_shims(node), *pids_in_cgroups(node)]:
        if time.monotonic() > deadline:
            raise ClusterFailed(f"these processes of {node.name} cannot be killed: {pids}")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def sandboxes(result: str) -> list[Path]:
    """The network namespaces that a CNI result, as libcni keeps it, tells of."""
    try:
        interfaces = json.loads(result)["result"].get("interfaces", [])
    except (ValueError, KeyError):
        return []  # torn by the kill that we clean up after
    return sorted({Path(interface["sandbox"]) for interface in interfaces if interface.get("sandbox")})


def _remove_network_namespaces(node: Node) -> None:
    """Those of the node's network, and what libcni wrote down about them."""
    for written in CNI_RESULTS.glob(f"{node.network}-*"):
        for namespace in sandboxes(_read(written)):
            if namespace.exists():
                succeeds(["umount", "--lazy", namespace])
                namespace.unlink()
        container = written.name.removeprefix(f"{node.network}-").rpartition("-")[0]
        for loopback in CNI_RESULTS.glob(f"*-loopback-{container}-lo"):
            loopback.unlink()
        written.unlink()


def _remove_sockets_of_shims(node: Node) -> None:
    """A shim that was killed cannot remove its socket, which lies outside our folder."""
    for written in (node.containerd_state / TASKS).glob("*/address"):
        scheme, _, socket = _read(written).strip().partition("unix://")
        if scheme == "" and socket:  # empty where the kill came before the address was written
            Path(socket).unlink(missing_ok=True)


def _remove_cgroups(node: Node) -> None:
    """From the leaves up; a cgroup can only be removed when it is empty."""
    for top in _cgroups(node):
        folders = [path for path in top.rglob("*") if path.is_dir()]
        for folder in [*sorted(folders, key=lambda path: len(path.parts), reverse=True), top]:
            _remove_cgroup(folder)


def _remove_cgroup(folder: Path) -> None:
    for _ in range(20):  # the kernel takes a moment to see that the last process has gone
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return


def _remove_links_of_logs(node: Node) -> None:
    for link in LINKS_OF_LOGS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(node.logs_of_pods):
            link.unlink()


def container_ids(node: Node) -> list[str]:
    """The containers that the node's containerd has a folder for, running or not."""
    return sorted(folder.name for folder in (node.containerd_state / TASKS).glob("*") if folder.is_dir())


def _cgroups(node: Node) -> list[Path]:
    """The node's own, and those that containerd makes for its containers."""
    names = [node.cgroup.lstrip("/"), *(f"k8s.io/{name}" for name in container_ids(node))]
    tops = [hierarchy / name for hierarchy in cgroup_hierarchies() for name in names]
    return [top for top in tops if top.is_dir()]


def _words(cmdline: Path) -> list[str]:
    return _read(cmdline).split("\0") or [""]


def _read(path: Path) -> str:
    """The text of a file of /proc or /sys; empty where the process or cgroup went away meanwhile."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
