"""A control plane of its own on this machine, with nodes that kwok plays: for what must not meet another
operator, and is to be killed and measured. The binaries are those of `make cluster`.

It has the API server, etcd, those controllers that a pool's objects need, the scheduler and kwok; its pods'
addresses lead nowhere, and say so at once. The operator runs as a process, with the rights that the chart
gives its ServiceAccount and no others.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from api.operator_process import OperatorProcess, free_port
from api.private_server import PrivateServer, private_server
from cluster import kwok
from harness.target import state_folder

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = "fastserve-system"
POD_RANGE = "10.246.0.0/16"
CONTROLLERS = (
    "deployment-controller", "replicaset-controller", "garbage-collector-controller", "namespace-controller",
    "node-lifecycle-controller", "disruption-controller", "endpointslice-controller",
)  # fmt: skip
QPS, BURST, WORKERS = 500, 1000, 20
"""The controllers' and the scheduler's own throttles (20 to 50 requests/s) would be measured instead of our
operator's."""


class PrivateCluster:
    """A running control plane in `folder`."""

    def __init__(self, server: PrivateServer, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, nodes: int) -> None:
        """Definitions, rights, controllers and `nodes` nodes. Raises AssertionError where one fails."""
        kubectl = self.server.kubectl
        kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        kubectl("create", "namespace", NAMESPACE)
        self._controllers()
        kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": _nodes(nodes)}))
        kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s", seconds=70)

    def grant(self, name: str, namespaces: Sequence[str]) -> None:
        """What the chart grants to its operator, as a release called `name` for these namespaces."""
        for right in yaml.safe_load_all(_rights(name, namespaces)):
            if right is not None:
                home = right["metadata"].get("namespace", NAMESPACE)
                self.server.kubectl.within(home).apply(json.dumps(right))

    def operator(self, name: str, namespaces: Sequence[str], **environment: str) -> OperatorProcess:
        """Start the operator that `grant` was made for; it logs into ``<name>.log``."""
        settings = {
            "FASTSERVE_NAMESPACE": NAMESPACE,
            "FASTSERVE_LEASE_NAME": f"{name}-operator",
            "FASTSERVE_WATCH_NAMESPACES": ",".join(namespaces),
            "FASTSERVE_LOG_LEVEL": "WARNING",
            **environment,
        }
        begun = OperatorProcess(name, self.server.operator_kubeconfig, self._folder, **settings)
        self._processes.append(begun.process)
        return begun

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _controllers(self) -> None:
        kubeconfig = f"--kubeconfig={self.server.kubeconfig}"
        self._run(
            "kube-controller-manager",
            kubeconfig,
            "--leader-elect=false",
            "--secure-port=0",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--kube-api-qps={QPS}",
            f"--kube-api-burst={BURST}",
            f"--concurrent-deployment-syncs={WORKERS}",
            f"--concurrent-replicaset-syncs={WORKERS}",
        )
        scheduler = self._folder / "scheduler.json"
        scheduler.write_text(json.dumps(_scheduling(self.server.kubeconfig)))
        self._run("kube-scheduler", f"--config={scheduler}", "--secure-port=0")
        self._run(
            "kwok",
            kubeconfig,
            f"--config={kwok.STAGES}",
            f"--manage-nodes-with-annotation-selector={kwok.ANNOTATION}=fake",
            f"--cidr={POD_RANGE}",
            "--node-lease-duration-seconds=40",
            f"--server-address=127.0.0.1:{free_port()}",
        )

    def _run(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [str(state_folder() / "bin" / name), *arguments]
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))


@contextmanager
def private_cluster(folder: Path, nodes: int) -> Iterator[PrivateCluster]:
    """One with `nodes` nodes for as long as the block lasts."""
    began = time.monotonic()
    with _nowhere(), private_server(folder) as server:
        cluster = PrivateCluster(server, folder)
        try:
            cluster.start(nodes)
            print(
                f"a control plane with {nodes} nodes after {time.monotonic() - began:.0f} s", file=sys.stderr
            )
            yield cluster
        finally:
            cluster.end()


@contextmanager
def _nowhere() -> Iterator[None]:
    """No packet to the addresses of pods that are not there leaves this machine. Each bench has a route of
    its own, told apart by the metric."""
    route = ["unreachable", POD_RANGE, "metric", str(free_port())]
    subprocess.run(["ip", "route", "add", *route], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", *route], check=False)


def _rights(name: str, namespaces: Sequence[str]) -> str:
    values = {
        "fullnameOverride": name,
        "serviceAccount.name": "fastserve-operator",
        "watchNamespaces": f"{{{','.join(namespaces)}}}",
    }
    chosen = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [str(state_folder() / "bin" / "helm"), "template", name, str(ROOT / "charts" / "fastserve")]
    only = ["--namespace", NAMESPACE, "--show-only", "templates/rbac.yaml"]
    done = subprocess.run([*command, *only, *chosen], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _nodes(count: int) -> list[dict[str, object]]:
    nodes = [kwok.fake_node(number) for number in range(1, count + 1)]
    for node in nodes:
        node["spec"] = {}  # nothing but such nodes: they need no taint
    return nodes


def _scheduling(kubeconfig: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": QPS, "burst": BURST},
        "leaderElection": {"leaderElect": False},
    }
