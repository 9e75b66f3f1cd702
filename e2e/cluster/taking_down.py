"""`down`: ends all that `up` started; the caches, the logs and the nodes' images stay."""

from cluster import control_plane, leavings, network
from cluster.bringing_up import Cluster

ORDER = (
    "kwok",
    "kube-proxy",
    "kubelet",
    "containerd",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
)
"""Who makes pods ends before who holds them; who writes ends before what it writes to."""


def down(cluster: Cluster) -> None:
    """Raises ClusterFailed where a process cannot be ended or a mount cannot be undone."""
    names = sorted(cluster.processes.names(), key=_rank)
    for name in names:
        cluster.processes.stop(name)
    for node in cluster.places.nodes():
        leavings.clear(node)
        network.remove_bridge(node)
    network.remove_forwarding()
    control_plane.reset(cluster.places)
    print(f"the cluster is down ({len(names)} programs ended)", flush=True)


def _rank(name: str) -> int:
    """Position in ORDER; `kubelet-1` counts as kubelet."""
    plain = name if name in ORDER else name.rpartition("-")[0]
    return ORDER.index(plain) if plain in ORDER else len(ORDER)
