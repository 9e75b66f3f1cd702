"""Many pools on the cluster of `make cluster`, whose routers are processes of this machine.

The operator makes their objects, kwok plays their pods, and this machine has the pods' addresses: at each
stand-by pod's listens the true router, as its own ServiceAccount and with the settings that its pod names;
at each member's pod a replica that only tells (told.py). So operator and routers find each other as always.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from cluster.kwok import TAINT, fake_node
from fastserve.api.identity import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POOL_LABEL,
    ROLE_LABEL,
    SUBMODEL_LABEL,
)
from fastserve.api.objects import CONFIG_MAP, POD, ObjectKey
from fastserve.api.routes import RouteTable, Target
from fastserve.cluster.kube import KubeCluster
from fastserve.cluster.port import Selector
from harness.kubectl import Kubectl, Manifest
from scaling.told import AdminPorts, Load, Replica

SPACE = "bench-many"
BRIDGE = "fsv-many"
MARK = "bench.fastserve.io/many"
MEMBERS, MOST = 2, 4
PODS_PER_NODE = 200
OURS = {MANAGED_BY_LABEL: MANAGED_BY}
PLACE = {
    "nodeSelector": {MARK: "yes"},
    "tolerations": [{"key": TAINT["key"], "operator": "Exists"}],
}
SCALED = {"minReplicas": 1, "maxReplicas": MOST, "scaleDownDelaySeconds": 10}


def names(pools: int) -> list[str]:
    return [f"pool-{number:02d}" for number in range(pools)]


def members_of(pool: str) -> list[str]:
    return [f"{pool}-{letter}" for letter in "ab"[:MEMBERS]]


def manifests(pool: str) -> list[Manifest]:
    """A pool as its user would write it before thinking of autoscaling."""
    door = {"podTemplate": PLACE}
    found: list[Manifest] = [_manifest("ModelPool", pool, {"router": door})]
    for name in members_of(pool):
        spec = {
            "poolRef": {"name": pool},
            "examples": [f"a text about {name}", f"another one about {name}"],
            "model": {"storageUri": f"https://models.example/{name}.tar.gz"},
            "podTemplate": PLACE,
        }
        found.append(_manifest("SubModel", name, spec))
    return found


def _manifest(kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }


def apply(kubectl: Kubectl, items: Sequence[Manifest]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text, seconds=300)


def scaled(manifest: Manifest) -> Manifest:
    """The same with autoscaling, which is all that its user adds."""
    return {**manifest, "spec": {**manifest["spec"], "autoscaling": SCALED}}


@contextmanager
def ground(cluster: Kubectl, pools: int) -> Iterator[Kubectl]:
    """A namespace, nodes and a bridge for the pods' addresses, for as long as the block lasts."""
    nodes = [f"many-{number}" for number in range(pools * (1 + MEMBERS * MOST) // PODS_PER_NODE + 1)]
    _clear(cluster, nodes)
    try:
        cluster("create", "namespace", SPACE)
        for name in nodes:
            cluster("create", "-f", "-", stdin=json.dumps(_node(name)))
        subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        yield cluster.within(SPACE)
    finally:
        _clear(cluster, nodes)


def _clear(cluster: Kubectl, nodes: Sequence[str]) -> None:
    cluster("delete", "namespace", SPACE, "--ignore-not-found", "--wait", "--timeout=280s", seconds=300)
    cluster("delete", "node", *nodes, "--ignore-not-found")
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, stderr=subprocess.DEVNULL)


def _node(name: str) -> Manifest:
    node = fake_node(0)
    labels = {**node["metadata"]["labels"], "kubernetes.io/hostname": name, "type": "bench", MARK: "yes"}
    node["metadata"] |= {"name": name, "labels": labels}
    return node


@dataclass
class Router:
    """The process of one pool's stand-by router."""

    process: "subprocess.Popen[bytes]"
    seen: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.seen = psutil.Process(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        times = self.seen.cpu_times()
        return float(times.user + times.system)


class Routers:
    """Starts routers as their pods name them, and ends them."""

    def __init__(self, kubectl: Kubectl, folder: Path, encoder: Path) -> None:
        self.by_pool: dict[str, Router] = {}
        self._kubectl = kubectl
        self._folder = folder
        self._encoder = encoder

    def start(self, pool: str, pod: Manifest) -> None:
        folder = self._folder / pool
        folder.mkdir()
        (folder / "kubeconfig").write_text(yaml.safe_dump(self._login(pool)))
        environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig")}
        settings = {**_settings_in(pod), "encoder_path": str(self._encoder), "run_path": str(folder)}
        settings["host"] = pod["status"]["podIP"]
        command = [sys.executable, "-m", "fastserve.router", "--settings-json", json.dumps(settings)]
        with (folder / "log").open("wb") as log:
            self.by_pool[pool] = Router(subprocess.Popen(command, env=environment, stderr=log))

    def check(self) -> None:
        """Raises AssertionError where one has ended."""
        for pool, one in self.by_pool.items():
            if one.process.poll() is not None:
                log = (self._folder / pool / "log").read_text()
                raise AssertionError(f"{pool}'s router ended: {log[-2000:]}")

    def end(self) -> None:
        for one in self.by_pool.values():
            one.process.send_signal(signal.SIGKILL)
        for one in self.by_pool.values():
            one.process.wait()

    def _login(self, pool: str) -> dict[str, Any]:
        """The cluster's kubeconfig with the token of the pool's own ServiceAccount."""
        document: dict[str, Any] = yaml.safe_load(self._kubectl.kubeconfig.read_text())
        token = self._kubectl("create", "token", f"{pool}-p-router", "--duration=3h").strip()
        document["users"] = [{"name": one["name"], "user": {"token": token}} for one in document["users"]]
        return document


def _settings_in(pod: Manifest) -> dict[str, Any]:
    """What the pod tells its router."""
    arguments = next(one["args"] for one in pod["spec"]["containers"] if one["name"] == "router")
    text = arguments[arguments.index("--settings-json") + 1]
    metadata = pod["metadata"]
    for name, value in (("POD_UID", metadata["uid"]), ("POD_NAMESPACE", metadata["namespace"])):
        text = text.replace(f"$({name})", value)
    return dict(json.loads(text))


class Pods:
    """Follows the pods: gives each an address here, and somebody who listens there."""

    def __init__(self, api: KubeCluster, routers: Routers, loads: Mapping[str, Load]) -> None:
        self._api = api
        self._routers = routers
        self._loads = loads
        self._ports = AdminPorts()
        self._known: dict[str, Manifest] = {}
        self._targets: dict[str, Target] = {}

    async def run(self) -> None:
        """For ever."""
        try:
            async for found in self._api.watch(POD, SPACE, Selector(labels=OURS)):
                await self._take({one["metadata"]["uid"]: one for one in found if _runs(one)})
        finally:
            self._ports.close_all()

    async def _take(self, pods: Mapping[str, Manifest]) -> None:
        gone = [pod for uid, pod in self._known.items() if uid not in pods]
        new = [pod for uid, pod in pods.items() if uid not in self._known]
        for pod in gone:
            self._forget(pod)
        _set_addresses("del", gone)  # first: what one pod had, another may have got
        _set_addresses("add", new)
        for pod in new:
            await self._settle(pod)
        self._known = dict(pods)

    def _forget(self, pod: Manifest) -> None:
        labels = pod["metadata"]["labels"]
        if labels[ROLE_LABEL] != "standby":
            self._loads[labels[SUBMODEL_LABEL]].replicas.pop(pod["metadata"]["uid"])
            self._ports.close(pod["status"]["podIP"])

    async def _settle(self, pod: Manifest) -> None:
        labels, uid = pod["metadata"]["labels"], pod["metadata"]["uid"]
        pool = labels[POOL_LABEL]
        if labels[ROLE_LABEL] == "standby":
            await asyncio.to_thread(self._routers.start, pool, pod)
            return
        member = labels[SUBMODEL_LABEL]
        replica = Replica(uid, member)
        await self._ports.open(pod["status"]["podIP"], pool, replica, await self._target(pool, member))
        self._loads[member].replicas[uid] = replica

    async def _target(self, pool: str, member: str) -> Target:
        if member not in self._targets:
            found = await self._api.get(CONFIG_MAP, ObjectKey(SPACE, f"{pool}-p-routes"))
            table = RouteTable.model_validate_json(found["data"]["routes.json"])
            self._targets |= {one.name: one.target for one in table.members}
        return self._targets[member]


def _runs(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and "deletionTimestamp" not in pod["metadata"]


def _set_addresses(verb: str, pods: Sequence[Manifest]) -> None:
    lines = [f"address {verb} {pod['status']['podIP']}/32 dev {BRIDGE}" for pod in pods]
    if lines:
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


async def until(what: Callable[[], bool], seconds: float, said: str) -> float:
    """Wait until it is so, which a thread looks at; the seconds that it took. Raises AssertionError, saying
    what was not."""
    began = time.monotonic()
    while not await asyncio.to_thread(what):
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds:g} s: {said}")
        await asyncio.sleep(2.0)
    return time.monotonic() - began
