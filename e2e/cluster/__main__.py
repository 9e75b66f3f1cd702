"""python -m cluster up|down|status|env|nodes|images"""

import argparse
import os
import sys
from pathlib import Path

from cluster import kwok
from cluster.bringing_up import Cluster, up
from cluster.failures import ClusterFailed
from cluster.places import Places
from cluster.taking_down import down


def places() -> Places:
    home = Path.home()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    state = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return Places(cache / "fastserve" / "cluster", state / "fastserve" / "cluster")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m cluster", description="A Kubernetes cluster on this machine.")
    commands = top.add_subparsers(dest="command", required=True)
    bring = commands.add_parser("up", help="have the cluster running")
    bring.add_argument("--nodes", type=int, default=1, choices=(1, 2), help="nodes that run pods")
    commands.add_parser("down", help="end all that up started; caches, logs and images stay")
    return top


def main() -> int:
    arguments = parser().parse_args()
    cluster = Cluster.at(places())
    try:
        if arguments.command == "up":
            up(cluster, arguments.nodes)
        elif arguments.command == "down":
            down(cluster)
    except ClusterFailed as failed:
        print(f"cluster: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
