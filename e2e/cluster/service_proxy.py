"""kube-proxy: Services' addresses, as nftables rules of this machine. One serves all of its nodes."""

import json
from pathlib import Path

from cluster import files
from cluster.places import POD_RANGE, Node, Places
from cluster.processes import Program


def write_files(places: Places, node: Node) -> None:
    files.write(_file(places), json.dumps(configuration(places, node), indent=2))


def program(places: Places) -> Program:
    command = (f"{places.programs}/kube-proxy", f"--config={_file(places)}")
    return Program("kube-proxy", command, (_file(places), places.configuration / "kube-proxy.kubeconfig"))


def configuration(places: Places, node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(places.configuration / "kube-proxy.kubeconfig")},
        "hostnameOverride": node.name,
        "clusterCIDR": POD_RANGE,
        "bindAddress": node.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        # The machine's own connection tracking is left as it is.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _file(places: Places) -> Path:
    return places.configuration / "kube-proxy.yaml"
