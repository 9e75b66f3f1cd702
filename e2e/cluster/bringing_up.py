"""`up`: from whatever is there to a cluster whose node is Ready."""

import datetime as dt
import os
import time
from dataclasses import dataclass
from typing import Any

from cluster import control_plane, dns, gpus, kwok, leavings, network, service_proxy
from cluster import node as node_programs
from cluster.api import Api
from cluster.binaries import ensure_binaries
from cluster.failures import ClusterFailed
from cluster.packages import ensure_packages, ensure_prometheus, require_system
from cluster.places import Node, Places
from cluster.processes import Processes
from cluster.static_images import ensure_static_image
from cluster.waiting import Wait, wait

ALWAYS = dt.datetime.fromtimestamp(0, dt.UTC)
LONGEST_SOCKET = 90
"""The kernel takes 107 characters; containerd and the kubelet add a few to some names."""


@dataclass(frozen=True)
class Cluster:
    """The cluster of this machine: its folders, processes and API."""

    places: Places
    processes: Processes
    api: Api

    @classmethod
    def at(cls, places: Places) -> "Cluster":
        return cls(places, Processes(places.records, places.logs), Api.at(places))


def up(cluster: Cluster, node_count: int) -> None:
    """Have the cluster running with that many nodes. Raises ClusterFailed with what is in the way."""
    require_system()
    ensure_packages()
    places = cluster.places
    wanted = [places.node(number) for number in range(1, node_count + 1)]
    _check_paths(wanted[0])
    ensure_binaries(places.cache, places.programs)
    ensure_prometheus(places.cache)
    began = time.monotonic()
    if not cluster.processes.alive("etcd"):
        _clear_leavings(cluster)
    network.ensure_bridge(wanted[0])
    network.ensure_forwarding()
    control_plane.write_files(places)
    control_plane.start(places, cluster.processes)
    for one in wanted:
        bring_up_node(cluster, one)
    _start_services(cluster, wanted[0])
    changed = (
        f"started {', '.join(cluster.processes.started)}" if cluster.processes.started else "nothing to do"
    )
    print(f"the cluster is up: {changed} ({time.monotonic() - began:.1f} s without building)", flush=True)


def bring_up_node(cluster: Cluster, node: Node) -> None:
    """One node: Ready, with its GPUs."""
    network.ensure_bridge(node)
    node_programs.write_files(cluster.places, node)
    node_programs.start_containerd(cluster.processes, node)
    ensure_static_image(cluster.places, node, "pause")
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)  # the API tells whole seconds
    started = node_programs.start_kubelet(cluster.places, cluster.processes, node)
    since = before if started else ALWAYS
    kubelet = f"kubelet-{node.number}"
    wait(
        Wait(
            f"node {node.name} to be Ready",
            lambda: node_missing(cluster.api.get("node", node.name), since),
            90,
            cluster.processes.log(kubelet),
            lambda: cluster.processes.alive(kubelet),
        )
    )
    if started or not gpus.advertised(cluster.api.get("node", node.name)):
        gpus.advertise(cluster.api, node.name)


def running_nodes(cluster: Cluster) -> list[Node]:
    """The nodes whose containerd runs. Raises ClusterFailed where there is none."""
    nodes = [node for node in cluster.places.nodes() if cluster.processes.alive(f"containerd-{node.number}")]
    if not nodes:
        raise ClusterFailed("the cluster is down: make cluster")
    return nodes


def node_missing(node: dict[str, Any] | None, since: dt.datetime = ALWAYS) -> str:
    """Empty when a Node says Ready, and said so after `since`; else what it says.

    A kubelet that was killed leaves its last word behind, and one that starts takes the GPUs away.
    """
    if node is None:
        return "it has not registered"
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready":
            if dt.datetime.fromisoformat(condition["lastHeartbeatTime"]) < since:
                return "its kubelet has not spoken since it was started"
            return "" if condition["status"] == "True" else str(condition["message"])
    return "it has no condition Ready"


def _start_services(cluster: Cluster, first: Node) -> None:
    service_proxy.write_files(cluster.places, first)
    cluster.processes.ensure(service_proxy.program(cluster.places))
    cluster.processes.ensure(kwok.program(cluster.places))
    image = ensure_static_image(cluster.places, first, "coredns")
    dns.apply(cluster.api, image)
    wait(
        Wait(
            "CoreDNS", lambda: dns.missing(cluster.api), 90, cluster.processes.log(f"kubelet-{first.number}")
        )
    )


def _clear_leavings(cluster: Cluster) -> None:
    """Nothing of the control plane runs: end the rest of an earlier run before starting over."""
    for name in cluster.processes.names():
        cluster.processes.stop(name)
    for node in cluster.places.nodes():
        leavings.clear(node)


def _check_paths(node: Node) -> None:
    if len(os.fsencode(node.socket)) > LONGEST_SOCKET:
        raise ClusterFailed(
            f"{node.socket} is too long for a socket: set XDG_STATE_HOME to a folder with a shorter path"
        )
