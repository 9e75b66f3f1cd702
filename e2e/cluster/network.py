"""The machine's side of the pods' network: a bridge per node, forwarding, and a way out."""

import json
from pathlib import Path

from cluster.commands import run, succeeds
from cluster.places import POD_RANGE, Node

TABLE = "fastserve"
MASQUERADE = f"""
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {POD_RANGE} ip daddr != {POD_RANGE} masquerade
  }}
}}
"""
SETTINGS = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")
"""By the second, the answer of a pod on the same bridge is translated back to its Service's address."""
FORWARDED = (("-s", POD_RANGE), ("-d", POD_RANGE))


def ensure_bridge(node: Node) -> None:
    """The bridge of `node`, up, with the node's address."""
    if not Path(f"/sys/class/net/{node.bridge}").exists():
        run(["ip", "link", "add", node.bridge, "type", "bridge"])
    run(["ip", "address", "replace", f"{node.address}/24", "dev", node.bridge])
    run(["ip", "link", "set", node.bridge, "up"])


def ensure_forwarding() -> None:
    """Let pods reach each other across bridges, and what is outside as this machine."""
    for setting in SETTINGS:
        path = Path("/proc/sys") / setting
        if path.exists() and path.read_text().strip() != "1":
            path.write_text("1")
    if not succeeds(["nft", "list", "table", "ip", TABLE]):
        run(["nft", "-f", "-"], stdin=MASQUERADE)
    for match in FORWARDED:  # where Docker runs, the policy of this chain is DROP
        if not succeeds(["iptables", "-C", "FORWARD", *match, "-j", "ACCEPT"]):
            run(["iptables", "-I", "FORWARD", *match, "-j", "ACCEPT"])


def remove_forwarding() -> None:
    for match in FORWARDED:
        while succeeds(["iptables", "-D", "FORWARD", *match, "-j", "ACCEPT"]):
            pass
    tables = (("ip", TABLE), ("ip", "kube-proxy"), ("ip6", "kube-proxy"))
    for family, table in tables:
        if succeeds(["nft", "list", "table", family, table]):
            run(["nft", "delete", "table", family, table])


def remove_ports(node: Node) -> None:
    """Remove the links of the pods now, not when the kernel gets round to it."""
    for port in Path(f"/sys/class/net/{node.bridge}/brif").glob("*"):
        succeeds(["ip", "link", "delete", port.name])


def remove_bridge(node: Node) -> None:
    if Path(f"/sys/class/net/{node.bridge}").exists():
        run(["ip", "link", "delete", node.bridge])


def plugins_configuration(node: Node) -> str:
    """What containerd hands to the CNI plugins for each pod of `node`.

    The bridge has its address before the first pod; masquerading is one table of ours instead of
    two chains per pod, so that a killed run leaves nothing behind that has no name.
    """
    addresses = {
        "type": "host-local",
        "dataDir": str(node.leases),
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": node.bridge,
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    content = {"cniVersion": "0.4.0", "name": node.network, "plugins": [bridge, ports]}
    return json.dumps(content, indent=2)
