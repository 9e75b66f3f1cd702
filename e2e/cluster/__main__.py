"""python -m cluster up|down|status|env|images|nodes|programs: the only module that reads the environment."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from cluster import kwok
from cluster.binaries import BINARIES, ensure_binaries
from cluster.bringing_up import Cluster, running_nodes, up
from cluster.failures import ClusterFailed
from cluster.images import ensure_images
from cluster.packages import PROMETHEUS, ensure_prometheus, find_go
from cluster.places import Places
from cluster.report import environment, status
from cluster.taking_down import down

LOCK_SECONDS = 1800
"""As long as building everything from nothing may take."""


def places() -> Places:
    home = Path.home()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    state = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return Places(cache / "fastserve" / "cluster", state / "fastserve" / "cluster")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m cluster", description="A Kubernetes cluster on this machine."
    )
    commands = top.add_subparsers(dest="command", required=True)
    bring = commands.add_parser("up", help="have the cluster running")
    bring.add_argument("--nodes", type=int, default=1, choices=(1, 2), help="nodes that run pods")
    commands.add_parser("down", help="end all that up started; caches, logs and images stay")
    commands.add_parser("status", help="what runs; exit 1 unless all is well")
    commands.add_parser("env", help='lines for the shell: eval "$(python -m cluster env)"')
    commands.add_parser("images", help="build our images and import what changed into the nodes")
    build = commands.add_parser("programs", help="build some of the cluster's programs, where there is Go")
    names = [*(binary.name for binary in BINARIES), PROMETHEUS]
    build.add_argument("names", nargs="+", choices=names, metavar="NAME")
    fake = commands.add_parser("nodes", help="nodes without a machine, by kwok")
    fake.add_argument("--fake", type=int, required=True, metavar="N", help="have exactly N of them")
    return top


def main() -> int:
    arguments = parser().parse_args()
    cluster = Cluster.at(places())
    try:
        return _obey(cluster, arguments)
    except (ClusterFailed, Timeout) as failed:
        print(f"cluster: {failed}", file=sys.stderr)
        return 1


def _obey(cluster: Cluster, arguments: argparse.Namespace) -> int:
    if arguments.command == "status":
        text, well = status(cluster)
        print(text)
        return 0 if well else 1
    if arguments.command == "env":
        print(environment(cluster))
        return 0
    cluster.places.state.mkdir(parents=True, exist_ok=True)
    cluster.places.cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cluster.places.state / "lock")  # two commands must not build or start the same thing
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another command that changes the cluster (at most {LOCK_SECONDS} s)", flush=True)
        lock.acquire(timeout=LOCK_SECONDS)
    try:
        _change(cluster, arguments)
    finally:
        lock.release()
    return 0


def _change(cluster: Cluster, arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            up(cluster, arguments.nodes)
            print(environment(cluster))
        case "down":
            down(cluster)
        case "images":
            references = ensure_images(cluster.places, running_nodes(cluster))
            print("\n".join(references.values()))
        case "programs":
            _build(cluster.places, arguments.names)
        case "nodes":
            kwok.set_fake_nodes(cluster.api, arguments.fake)


def _build(places: Places, names: list[str]) -> None:
    if PROMETHEUS in names:
        ensure_prometheus(places.cache)
    missing = [name for name in names if name != PROMETHEUS and shutil.which(name) is None]
    if missing and find_go() is None:
        print(f"{', '.join(missing)}: neither on PATH nor to be built without Go; tests that need it say so")
    elif missing:
        ensure_binaries(places.cache, places.programs, missing)


if __name__ == "__main__":
    sys.exit(main())
