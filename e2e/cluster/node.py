"""A node: containerd and the kubelet, with folders, bridge and pod addresses of their own."""

import json
from pathlib import Path

from cluster import certificates, files, kubeconfig, network, static_images
from cluster.commands import succeeds
from cluster.control_plane import BURST, QPS
from cluster.failures import ClusterFailed
from cluster.packages import plugin_folder
from cluster.places import DNS_ADDRESS, Node, Places
from cluster.processes import Processes, Program
from cluster.waiting import Wait, wait

CRASH_BACKOFF = "1s"
"""The kubelet's own limit is 300 s: stories that kill containers would wait for it."""


def write_files(places: Places, node: Node) -> None:
    """Configuration, certificate and kubeconfig of the node's programs."""
    authority = certificates.ensure_authority(places.certificates)
    certificates.ensure(places.certificates, authority, certificates.kubelet_holder(node.name, node.address))
    folders = (node.containerd_root, node.kubelet_root, node.logs_of_pods, plugins_folder(node))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    # The socket's folder holds the runtime's state: nobody else's business.
    node.containerd_state.mkdir(parents=True, exist_ok=True, mode=0o711)
    pause = static_images.reference(places, "pause")
    files.write(_containerd_file(node), containerd_configuration(node, pause))
    files.write(plugins_folder(node) / "10-fastserve.conflist", network.plugins_configuration(node))
    files.write(_kubelet_file(node), json.dumps(kubelet_configuration(places, node), indent=2))
    rendered = kubeconfig.render(places.certificates, node.name)
    files.write(_kubelet_kubeconfig(node), rendered, files.SECRET)


def start_containerd(processes: Processes, node: Node) -> None:
    name = f"containerd-{node.number}"
    processes.ensure(
        Program(name, ("containerd", f"--config={_containerd_file(node)}"), (_containerd_file(node),))
    )
    wait(
        Wait(
            f"{name} at {node.socket}",
            lambda: "" if succeeds(["ctr", f"--address={node.socket}", "version"]) else "no answer",
            30,
            processes.log(name),
            lambda: processes.alive(name),
        )
    )


def start_kubelet(places: Places, processes: Processes, node: Node) -> bool:
    """True where it had to be started: the node has then forgotten its GPUs."""
    ensure_cgroup(node)
    return processes.ensure(kubelet(places, node))


def kubelet(places: Places, node: Node) -> Program:
    command = (
        f"{places.programs}/kubelet",
        f"--config={_kubelet_file(node)}",
        f"--kubeconfig={_kubelet_kubeconfig(node)}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--root-dir={node.kubelet_root}",
        f"--cert-dir={node.kubelet_root}/pki",
    )
    return Program(f"kubelet-{node.number}", command, (_kubelet_file(node), _kubelet_kubeconfig(node)))


def ensure_cgroup(node: Node) -> None:
    """The kubelet's root of cgroups, which it wants to find; with no cgroup per pod, it stays empty."""
    for hierarchy in cgroup_hierarchies():
        (hierarchy / node.cgroup.lstrip("/")).mkdir(exist_ok=True)


def cgroup_hierarchies(root: Path = Path("/sys/fs/cgroup")) -> list[Path]:
    """The folders to make a cgroup in: one with cgroup v2, one per controller with v1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return [
        path for path in sorted(root.iterdir()) if (path / "cgroup.procs").exists() and not path.is_symlink()
    ]


def plugins_folder(node: Node) -> Path:
    return node.folder / "plugins"


def containerd_configuration(node: Node, pause_image: str) -> str:
    """Root, state and socket of its own, so that another containerd of this machine is left alone."""
    binaries = plugin_folder()
    if binaries is None:
        raise ClusterFailed("the CNI plugins are not installed")
    return f"""version = 2
root = "{node.containerd_root}"
state = "{node.containerd_state}"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
address = "{node.socket}"

[ttrpc]
address = "{node.socket}.ttrpc"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause_image}"
# A machine without CAP_SYS_RESOURCE may not lower a score: every sandbox would die without this.
restrict_oom_score_adj = true
max_concurrent_downloads = 4
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{binaries}"
conf_dir = "{plugins_folder(node)}"
"""


def kubelet_configuration(places: Places, node: Node) -> dict[str, object]:
    pki = places.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "port": 10250,
        "healthzBindAddress": node.address,
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "podLogsDir": str(node.logs_of_pods),
        "tlsCertFile": f"{pki}/{node.name}.crt",
        "tlsPrivateKeyFile": f"{pki}/{node.name}.key",
        "authentication": {"x509": {"clientCAFile": f"{pki}/ca.crt"}, "anonymous": {"enabled": False}},
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        # Images come from no registry: what is deleted does not come back. 100 switches deletion off.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "serializeImagePulls": False,
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": CRASH_BACKOFF},
        "kubeAPIQPS": QPS,
        "kubeAPIBurst": BURST,
        "nodeStatusUpdateFrequency": "5s",
        "shutdownGracePeriod": "0s",
    }


def _containerd_file(node: Node) -> Path:
    return node.folder / "containerd.toml"


def _kubelet_file(node: Node) -> Path:
    return node.folder / "kubelet.yaml"


def _kubelet_kubeconfig(node: Node) -> Path:
    return node.folder / "kubeconfig"
