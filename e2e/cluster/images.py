"""Our own images, built by buildah from images/ and imported into every node that lacks them.

A tag holds a hash of everything that the image is made of: what has not changed is neither built nor
imported again, and a pod template names exactly one content.
"""

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster import files
from cluster.commands import run
from cluster.failures import ClusterFailed
from cluster.image_store import (
    STORAGE,
    also_known,
    built,
    built_references,
    ensure_held,
    forget,
    outdated,
)
from cluster.places import CHECKOUT, Node, Places
from fastserve import __version__

BASE = "localhost/fastserve-base:bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INDEX_SETTINGS = (Path("/etc/pip.conf"), Path("/etc/uv/uv.toml"))
"""Where this machine may name its package index: read during a build, and left out of the image."""
HASHED = re.compile(r":(dev-)?[0-9a-f]{12}$")
SKIPPED = {"__pycache__"}


@dataclass(frozen=True)
class Image:
    """An image of ours: its Dockerfile, and what of the checkout goes into it."""

    name: str
    dockerfile: str
    inputs: tuple[str, ...]
    target: str = ""
    engine: bool = False
    """Whether a stage of its build runs in the engine's image, where torch is."""
    tag: str = "dev-"

    @property
    def repository(self) -> str:
        return f"localhost/fastserve-{self.name}"

    def reference(self, checkout: Path, context: str = "") -> str:
        return f"{self.repository}:{self.tag}{content_key(checkout, self.inputs, context)}"


SHARED = (".dockerignore", "images/uv.txt", "images/base")
PINS = "operator/fastserve/local/pins"
CODE = "operator/fastserve"
ENGINE = Image(
    "engine",
    "images/triton/Dockerfile",
    (*SHARED, "images/triton", f"{PINS}/engine.txt"),
    target="engine",
    tag="",
)
TRITON = Image("triton", "images/triton/Dockerfile", (*SHARED, "images/triton", CODE))
OPERATOR = Image("operator", "images/operator/Dockerfile", (*SHARED, "images/operator", CODE))
ROUTER = Image("router", "images/router/Dockerfile", (*SHARED, "images/router", CODE), engine=True)
ON_NODES = (OPERATOR, ROUTER, TRITON)


def content_key(checkout: Path, inputs: Iterable[str], context: str = "") -> str:
    """12 hex digits of the names, modes and contents of the files that `inputs` (files or folders) hold."""
    digest = hashlib.sha256(context.encode())
    for path in sorted(_files(checkout, inputs)):
        executable = os.access(path, os.X_OK)
        digest.update(f"{path.relative_to(checkout)}\0{executable}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _files(checkout: Path, inputs: Iterable[str]) -> set[Path]:
    found: set[Path] = set()
    for name in inputs:
        path = checkout / name
        below = path.rglob("*") if path.is_dir() else [path]
        found.update(file for file in below if file.is_file() and not SKIPPED & set(file.parts))
    return found


def ensure_images(places: Places, nodes: list[Node], checkout: Path = CHECKOUT) -> dict[str, str]:
    """Build and import what is not there yet, and write the references down in images.json. Nodes know them
    by the version's tag too, which is what the pages for users and the chart's default values name.

    Old ones go, but for the newest two. Raises ClusterFailed with buildah's words when a build fails.
    """
    ensure_base(checkout)
    engine = ENGINE.reference(checkout)
    _ensure_built(checkout, ENGINE, engine, "")
    references = {}
    for image in ON_NODES:
        context = engine if image.engine else ""
        references[image.name] = image.reference(checkout, context)
        _ensure_built(checkout, image, references[image.name], context)
    for node in nodes:
        for reference in references.values():
            took = ensure_held(node, reference, places.cache)
            if took is not None:
                print(f"imported {reference} into {node.name} in {took:.0f} s", flush=True)
            also_known(node, reference, f"{reference.rpartition(':')[0]}:{__version__}")
    _forget_old(nodes, set(references.values()) | {engine})
    files.write(places.images, json.dumps(references, indent=2) + "\n")
    return references


def ensure_base(checkout: Path) -> None:
    """The system that all images stand on, from Debian's packages: there may be no registry to pull from."""
    if not built(BASE):
        print(f"building {BASE} with debootstrap (about a minute)", flush=True)
        run([checkout / "images" / "base" / "build.sh", BASE], environment=STORAGE)


def build_command(checkout: Path, image: Image, reference: str, engine: str) -> list[str]:
    """The buildah command that builds `image` as `reference`."""
    command = ["buildah", "bud", "--layers", "--isolation=chroot", "--network=host"]
    mounts = [path for path in (CERTIFICATES, *INDEX_SETTINGS) if path.exists()]
    command += [f"--volume={path}:{path}:ro" for path in mounts]
    arguments = {"BASE": BASE, "VERSION": reference.rpartition(":")[2], "REVISION": _revision(checkout)}
    if image.engine:
        arguments["ENGINE_IMAGE"] = engine
    command += [f"--build-arg={key}={value}" for key, value in arguments.items()]
    if image.target:
        command.append(f"--target={image.target}")
    return [*command, f"--file={checkout / image.dockerfile}", f"--tag={reference}", str(checkout)]


def _ensure_built(checkout: Path, image: Image, reference: str, engine: str) -> None:
    if built(reference):
        return
    print(f"building {reference}", flush=True)
    began = time.monotonic()
    run(build_command(checkout, image, reference, engine), environment=STORAGE)
    print(f"built {reference} in {time.monotonic() - began:.0f} s", flush=True)


def _revision(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _forget_old(nodes: list[Node], current: set[str]) -> None:
    """Only tags that carry a content hash are ours to remove, and never one that is in use."""
    references = built_references()
    old: set[str] = set()
    for image in (ENGINE, *ON_NODES):
        old |= outdated([name for name in references if HASHED.search(name)], image.repository)
    old -= current
    for node in nodes:
        forget(node, old)
    for reference in sorted(old):
        try:
            run(["buildah", "rmi", reference], environment=STORAGE)
        except ClusterFailed as failed:  # another build may be using it: the next run tries again
            print(f"kept {reference}: {failed}", flush=True)
