"""Where things lie, and which addresses are used. Nothing here touches the disk."""

from dataclasses import dataclass
from pathlib import Path

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
API_ADDRESS = "10.244.0.1"
"""The first node's bridge: pods reach it; loopback is what the API server refuses to advertise."""
API_PORT = 6443
API_URL = f"https://{API_ADDRESS}:{API_PORT}"
ETCD_URL = "http://127.0.0.1:23790"
ETCD_PEER_URL = "http://127.0.0.1:23800"

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
GO_MODULES = HERE / "go"
MANIFESTS = HERE / "manifests"


@dataclass(frozen=True)
class Node:
    """A node of this machine: its own containerd, kubelet, bridge and range of pod addresses."""

    number: int
    folder: Path

    @property
    def name(self) -> str:
        return f"fastserve-{self.number}"

    @property
    def bridge(self) -> str:
        """At most 15 characters: the kernel's limit for the name of an interface."""
        return f"fastserve{self.number}"

    @property
    def address(self) -> str:
        return f"10.244.{self.number - 1}.1"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number - 1}.0/24"

    @property
    def network(self) -> str:
        return f"fastserve-{self.number}"

    @property
    def cgroup(self) -> str:
        return f"/fastserve-{self.number}"

    @property
    def containerd_root(self) -> Path:
        return self.folder / "containerd"

    @property
    def containerd_state(self) -> Path:
        return self.folder / "run"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "containerd.sock"

    @property
    def kubelet_root(self) -> Path:
        return self.folder / "kubelet"

    @property
    def logs_of_pods(self) -> Path:
        return self.folder / "pods"

    @property
    def leases(self) -> Path:
        """Where the host-local plugin writes down which pod has which address."""
        return self.folder / "leases"


@dataclass(frozen=True)
class Places:
    """The cache outlives `down`; of the state only logs and the nodes' image stores do."""

    cache: Path
    state: Path

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def programs(self) -> Path:
        """Links to the binaries of this cluster: one folder for PATH."""
        return self.state / "bin"

    @property
    def certificates(self) -> Path:
        return self.state / "pki"

    @property
    def configuration(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def records(self) -> Path:
        return self.state / "processes"

    @property
    def etcd(self) -> Path:
        return self.state / "etcd"

    @property
    def images(self) -> Path:
        return self.state / "images.json"

    def node(self, number: int) -> Node:
        return Node(number, self.state / f"node-{number}")

    def nodes(self) -> list[Node]:
        """The nodes that have a folder, in order of their numbers."""
        numbers = (folder.name.removeprefix("node-") for folder in self.state.glob("node-*"))
        return [self.node(number) for number in sorted(int(n) for n in numbers if n.isdecimal())]
