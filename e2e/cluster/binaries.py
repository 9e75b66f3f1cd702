"""The cluster's programs, built from Go modules into a cache outside the checkout."""

import hashlib
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cluster.commands import run
from cluster.packages import go_program
from cluster.places import GO_MODULES

GIGABYTE = 10**9
LEAST_FREE_DISK = 20 * GIGABYTE
"""With less than this left, Go's build cache (6 GB) is dropped after a build; images need the room."""

KUBERNETES = "1.37.1"
STRIPPED = "-s -w"
VERSIONED = (
    f"{STRIPPED} -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
    f" -X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES}"
    " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
)


@dataclass(frozen=True)
class Binary:
    """A program: the folder of its go.mod under go/, and the package with its main function."""

    name: str
    module: str
    package: str
    flags: str = STRIPPED


def _kubernetes(name: str) -> Binary:
    return Binary(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", VERSIONED)


BINARIES = (  # in the order of need: the control plane first
    Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubectl"),
    Binary("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Binary("pause", "pause", "."),
    Binary("coredns", "coredns", "github.com/coredns/coredns"),
    Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Binary("kubeconform", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
)


def cache_key(module: Path, flags: str) -> str:
    """12 hex digits that change with the sources and pins of a module, and with how it is built."""
    digest = hashlib.sha256(flags.encode())
    for path in sorted(module.iterdir()):
        if path.name in {"go.mod", "go.sum"} or path.suffix == ".go":
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def cached(cache: Path, binary: Binary, modules: Path = GO_MODULES) -> Path:
    """Where `binary` lies in the cache, or would."""
    return cache / f"bin-{cache_key(modules / binary.module, binary.flags)}" / binary.name


def ensure_binaries(cache: Path, programs: Path, names: Collection[str] = ()) -> dict[str, float]:
    """Build what the cache lacks and link all, or those of `names`, into `programs`; seconds per program that
    was built."""
    took: dict[str, float] = {}
    for binary in (one for one in BINARIES if not names or one.name in names):
        path = cached(cache, binary)
        if not path.exists():
            print(f"building {binary.name} (minutes the first time)", flush=True)
            took[binary.name] = _build(binary, path)
            print(f"built {binary.name} in {took[binary.name]:.0f} s", flush=True)
        _link(programs / binary.name, path)
    if took and shutil.disk_usage(cache).free < LEAST_FREE_DISK:
        print("less than 20 GB of disk are free: dropping Go's build cache", flush=True)
        run([go_program(), "clean", "-cache"])
    return took


def _build(binary: Binary, path: Path) -> float:
    began = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    module = GO_MODULES / binary.module
    command: list[str | Path] = [go_program(), "-C", module, "build", "-trimpath", "-buildvcs=false"]
    # Static: the pause and DNS images hold nothing but the program.
    run(
        [*command, "-ldflags", binary.flags, "-o", fresh, binary.package],
        environment={**os.environ, "CGO_ENABLED": "0"},
    )
    fresh.replace(path)
    return time.monotonic() - began


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f"{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
