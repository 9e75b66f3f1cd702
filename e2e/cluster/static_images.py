"""Images that hold one static program and nothing else: the pods' pause, and CoreDNS."""

import shutil
import tempfile
from pathlib import Path

from cluster.binaries import BINARIES, Binary, cached
from cluster.commands import run
from cluster.image_store import STORAGE, built, ensure_held, held_references
from cluster.places import Node, Places

DOCKERFILE = """FROM scratch
COPY {name} /{name}
ENTRYPOINT ["/{name}"]
"""


def reference(places: Places, name: str) -> str:
    """The tag follows the binary: another binary is another image."""
    folder = cached(places.cache, _binary(name)).parent.name
    return f"localhost/fastserve-{name}:{folder.removeprefix('bin-')}"


def ensure_static_image(places: Places, node: Node, name: str) -> str:
    """Build the image where buildah lacks it, import it where the node lacks it; its reference."""
    image = reference(places, name)
    if image not in held_references(node):
        if not built(image):
            _build(places, name, image)
        ensure_held(node, image, places.cache)
    return image


def _build(places: Places, name: str, image: str) -> None:
    with tempfile.TemporaryDirectory(dir=places.cache, prefix="image-") as folder:
        context = Path(folder)
        shutil.copy2(cached(places.cache, _binary(name)), context / name)
        (context / "Dockerfile").write_text(DOCKERFILE.format(name=name))
        run(
            ["buildah", "bud", "--quiet", "--isolation=chroot", f"--tag={image}", context],
            environment=STORAGE,
        )


def _binary(name: str) -> Binary:
    return next(binary for binary in BINARIES if binary.name == name)
