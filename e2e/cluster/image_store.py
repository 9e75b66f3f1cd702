"""Images of a node: what its containerd holds, and putting images of buildah's store into it."""

import os
import tempfile
import time
from pathlib import Path

from cluster.commands import run
from cluster.places import Node

STORAGE = {**os.environ, "STORAGE_DRIVER": "overlay"}
"""For every call of buildah: without it a machine without FUSE copies each layer in full."""


def built(reference: str) -> bool:
    """Whether buildah's store holds `reference`."""
    return reference in built_references()


def built_references() -> list[str]:
    """All tagged images of buildah's store, the newest first."""
    listed = run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], environment=STORAGE)
    return listed.split()


def held_references(node: Node) -> set[str]:
    return set(_ctr(node, "images", "list", "--quiet").split())


def ensure_held(node: Node, reference: str, scratch: Path) -> float | None:
    """Have `reference` in the node's store; the seconds it took, None where it was there already."""
    if reference in held_references(node):
        return None
    began = time.monotonic()
    print(f"importing {reference} into {node.name}", flush=True)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="image-") as folder:
        archive = Path(folder) / "image.tar"
        # Docker's archive form is not compressed: 3 GB of gzip cost more than the disk it saves.
        run(
            ["buildah", "push", "--quiet", reference, f"docker-archive:{archive}:{reference}"],
            environment=STORAGE,
        )
        _ctr(node, "images", "import", str(archive))
    return time.monotonic() - began


def forget(node: Node, references: set[str]) -> None:
    """Remove references from the node's store; running pods keep what they unpacked."""
    for reference in sorted(references & held_references(node)):
        _ctr(node, "images", "remove", reference)


def outdated(references: list[str], repository: str, keep: int = 2) -> set[str]:
    """The references of `repository` beyond the newest `keep`; `references` come newest first."""
    own = [reference for reference in references if reference.rpartition(":")[0] == repository]
    return set(own[keep:])


def _ctr(node: Node, *words: str) -> str:
    return run(["ctr", f"--address={node.socket}", "--namespace=k8s.io", *words])
