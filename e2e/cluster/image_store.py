"""Images of a node: what its containerd holds, and putting images of buildah's store into it.

There is no registry that could be asked for single layers. So an import makes the smallest archive that
containerd accepts: skopeo writes an OCI layout in which all that the node holds already stands as links,
and only what had to be written is handed over. A change of code moves megabytes, not the gigabytes of
the layers below.
"""

import contextlib
import os
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO

from cluster.commands import run, succeeds
from cluster.failures import ClusterFailed
from cluster.places import Node

STORAGE = {**os.environ, "STORAGE_DRIVER": "overlay"}
"""For every call of buildah: without it a machine without FUSE copies each layer in full."""
BLOBS = Path("blobs") / "sha256"
ATTEMPTS = 5


def built(reference: str) -> bool:
    """Whether buildah's store holds `reference`."""
    return succeeds(["buildah", "inspect", "--type=image", "--format={{.FromImageID}}", reference], STORAGE)


def built_references() -> list[str]:
    """All tagged images of buildah's store, the newest first."""
    command = ["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"]
    for _ in range(ATTEMPTS - 1):
        if succeeds(command, STORAGE):  # fails when another build drops an image while it lists
            break
        time.sleep(1)
    return run(command, environment=STORAGE).split()


def held_references(node: Node) -> set[str]:
    return set(run([*_ctr(node), "images", "list", "--quiet"]).split())


def ensure_held(node: Node, reference: str, scratch: Path) -> float | None:
    """Have `reference` in the node's store; the seconds it took, None where it was there already.

    Raises ClusterFailed with containerd's words when it refuses.
    """
    if reference in held_references(node):
        return None
    began = time.monotonic()
    print(f"importing {reference} into {node.name}", flush=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="image-") as name:
        layout = Path(name)
        _link_blobs(node, layout)
        # skopeo, because buildah's own push compresses: that costs minutes, and gives a layer another
        # digest than the node knows it by.
        copy = ["skopeo", "copy", "--quiet", "--format=oci", "--dest-oci-accept-uncompressed-layers"]
        run([*copy, f"containers-storage:{reference}", f"oci:{layout}:{reference}"], environment=STORAGE)
        _hand_over(node, layout)
    return time.monotonic() - began


def also_known(node: Node, reference: str, name: str) -> None:
    """Have the node know `reference` by `name` as well."""
    run([*_ctr(node), "images", "tag", "--force", reference, name])


def forget(node: Node, references: set[str]) -> None:
    """Remove references from the node's store; running pods keep what they unpacked."""
    for reference in sorted(references & held_references(node)):
        run([*_ctr(node), "images", "remove", reference])
    for name in nameless(run([*_ctr(node), "images", "list"])):
        run([*_ctr(node), "images", "remove", name])


def nameless(listing: str) -> list[str]:
    """The kubelet's own names of images (``sha256:…``) that no tag names any more. Each would keep all of
    its image's layers for ever. `listing` is what ``ctr images list`` prints: name, type, digest, …"""
    rows = [line.split()[:3] for line in listing.splitlines()[1:] if line.strip()]
    tagged = {digest for name, _, digest in rows if not name.startswith("sha256:")}
    return sorted(name for name, _, digest in rows if name.startswith("sha256:") and digest not in tagged)


def outdated(references: list[str], repository: str, keep: int = 2) -> set[str]:
    """The references of `repository` beyond the newest `keep`; `references` come newest first."""
    own = [reference for reference in references if reference.rpartition(":")[0] == repository]
    return set(own[keep:])


def written_files(layout: Path) -> list[Path]:
    """The files of a layout that are not links: what has to be handed over. The index comes last."""
    files = [path for path in layout.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(files, key=lambda path: (path.name == "index.json", path))


def _link_blobs(node: Node, layout: Path) -> None:
    """Let the layout hold what the node's content store holds, without a byte of it."""
    (layout / BLOBS).mkdir(parents=True)
    for blob in (node.containerd_root / "io.containerd.content.v1.content" / BLOBS).glob("*"):
        (layout / BLOBS / blob.name).symlink_to(blob)


def _hand_over(node: Node, layout: Path) -> None:
    """Stream the layout's own files to containerd: no second copy on disk."""
    command = [*_ctr(node), "images", "import", "-"]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        assert child.stdin is not None
        # A broken pipe is told by containerd's own words below.
        with contextlib.suppress(BrokenPipeError), child.stdin:
            _write_archive(layout, child.stdin)
        if child.wait():
            said.seek(0)
            raise ClusterFailed(f"{node.name} refuses the image: {said.read().decode(errors='replace')}")


def _write_archive(layout: Path, output: IO[bytes]) -> None:
    with tarfile.open(fileobj=output, mode="w|") as archive:
        for path in written_files(layout):
            archive.add(path, arcname=str(path.relative_to(layout)))


def _ctr(node: Node) -> list[str]:
    return ["ctr", f"--address={node.socket}", "--namespace=k8s.io"]
