"""What the cluster needs from the system, and getting it where that is possible."""

import os
import platform
import shutil
import tempfile
from pathlib import Path

from cluster.commands import run, succeeds
from cluster.failures import ClusterFailed

PROGRAMS = {  # what must be on PATH, and the Debian package that brings it
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
    "conntrack": "conntrack",
    "nft": "nftables",
    "iptables": "iptables",
    "socat": "socat",
    "ip": "iproute2",
    "mount": "mount",
}
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
PLUGINS = ("bridge", "host-local", "portmap", "loopback")
GO_FOLDER = Path("/usr/local/go/bin")
PROMETHEUS = "prometheus"
"""Tests start one where there is one. It is only unpacked: installed, it would start as a service."""


def require_system() -> None:
    """Raises ClusterFailed where this machine can never hold the cluster, saying why."""
    if platform.system() != "Linux":
        raise ClusterFailed(
            "The cluster needs Linux. Elsewhere use a cluster of your own: E2E_KUBECONFIG=… make e2e"
        )
    if os.geteuid() != 0:
        raise ClusterFailed("The cluster needs root (bridges, mounts, namespaces): run it with sudo.")


def ensure_packages() -> None:
    """Install with apt-get what is missing; without apt-get, raise ClusterFailed naming it."""
    missing = missing_packages()
    if not missing:
        return
    names = " ".join(missing)
    if not shutil.which("apt-get"):
        raise ClusterFailed(f"These are missing, by their Debian names: {names}. Install them and try again.")
    print(f"installing with apt-get: {names}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], environment=environment)
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], environment=environment)
    still = missing_packages()
    if still:
        raise ClusterFailed(
            f"apt-get installed {names}, but what they should bring is still not found: {still}"
        )


def missing_packages() -> list[str]:
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if plugin_folder() is None:
        missing.add("containernetworking-plugins")
    return sorted(missing)


def ensure_prometheus(cache: Path) -> Path | None:
    """The one that is there, or Debian's unpacked into the cache. None where neither is to be had,
    and that is said: only some tests need it."""
    found = find_prometheus(cache)
    if found is not None:
        return found
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        print("prometheus: neither on PATH nor to be had from Debian; tests that need it say so", flush=True)
        return None
    print("fetching Debian's package prometheus", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    try:
        _unpack_prometheus(cache)
    except ClusterFailed as failed:
        print(f"prometheus: {failed}; tests that need it say so", flush=True)
    return find_prometheus(cache)


def find_prometheus(cache: Path) -> Path | None:
    """The program on PATH, or in the cache."""
    found = shutil.which(PROMETHEUS)
    kept = _unpacked(cache) / "usr" / "bin" / PROMETHEUS
    if found:
        return Path(found)
    return kept if kept.exists() else None


def _unpack_prometheus(cache: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        # apt-get writes where it stands.
        fetch = ["sh", "-c", f'cd "$1" && apt-get download -q {PROMETHEUS}', "sh", folder]
        if not succeeds(fetch):
            run(["apt-get", "update", "-q"])
            run(fetch)
        (package,) = Path(folder).glob("*.deb")
        run(["dpkg-deb", "--extract", package, Path(folder) / "unpacked"])
        shutil.rmtree(_unpacked(cache), ignore_errors=True)
        (Path(folder) / "unpacked").rename(_unpacked(cache))


def _unpacked(cache: Path) -> Path:
    return cache / PROMETHEUS


def plugin_folder() -> Path | None:
    """The folder of the CNI plugins; None where they are not installed."""
    for folder in PLUGIN_FOLDERS:
        if all((folder / plugin).exists() for plugin in PLUGINS):
            return folder
    return None


def find_go() -> Path | None:
    """The go command on PATH, or where Go's own installation puts it."""
    found = shutil.which("go")
    if found:
        return Path(found)
    return GO_FOLDER / "go" if (GO_FOLDER / "go").exists() else None


def go_program() -> Path:
    """The go command. Raises ClusterFailed where there is none."""
    found = find_go()
    if found is not None:
        return found
    raise ClusterFailed(
        "Go is missing: the cluster's programs are built from source. Install Go 1.26 or newer "
        f"(go.dev/doc/install) so that `go` is on PATH or in {GO_FOLDER}."
    )
