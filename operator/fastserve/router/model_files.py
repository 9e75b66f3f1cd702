"""Where the files of a version lie: in a folder of their own, on a claim, in an image, or on this machine."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastserve.api.identity import digest_of, image_folder
from fastserve.api.routes import Target
from fastserve.api.uris import path_of, plan_source
from fastserve.errors import CheckpointError, CheckpointMissing, DigestMismatch, InvalidSpec

KEY_LENGTH = 16
PARTIAL = ".partial"
"""What the fetching process appends to the name of a folder that is not whole yet."""
RECORD = "fastserve.json"
MAX_RECORD_BYTES = 1 << 20
SHOWN_DIGEST = 12


@dataclass(frozen=True)
class ModelPlaces:
    """Folders of this router: fetched models, the mounted Secret of their source, mounted claims and
    images. None where there are none."""

    run: Path
    models: Path | None = None
    credentials: Path | None = None
    claims: Path | None = None
    images: Path | None = None


@dataclass(frozen=True)
class ModelFiles:
    """`folder` holds the files, or will; what is read from it may not link to outside `root`. `key` names it
    among the fetched ones and is empty where nothing is copied; a claim's or an image's are `mounted`."""

    folder: Path
    root: Path
    key: str = ""
    mounted: bool = False

    @property
    def there(self) -> bool:
        """Whether there is nothing to fetch: a fetched folder appears whole or not at all."""
        return not self.key or self.folder.is_dir()


def files_of(target: Target, places: ModelPlaces) -> ModelFiles:
    """Raises InvalidSpec where this router can have no such files."""
    source = plan_source(target.storage_uri, "spec.model.storageUri")
    if source.scheme == "file":
        folder = path_of(target.storage_uri)
        return ModelFiles(folder, folder)
    if target.image:
        return _in_image(target, places.images)
    where = places.claims if source.scheme == "pvc" else places.models
    if where is None:
        allowed = "file://" if places.models is None else ""
        raise InvalidSpec(
            "spec.model.storageUri", f"this router has no place for {source.scheme}://", allowed
        )
    if source.scheme == "pvc":
        return ModelFiles(where / source.place / source.path, where / source.place, mounted=True)
    key = fetch_key(target)
    return ModelFiles(where / key, where / key, key)


def found_files(target: Target | None, places: ModelPlaces) -> ModelFiles | None:
    """As files_of; None where it raises, which fetching tells."""
    try:
        return files_of(target, places) if target else None
    except InvalidSpec:
        return None


def _in_image(target: Target, images: Path | None) -> ModelFiles:
    if images is None:
        raise InvalidSpec("spec.model.delivery", "this router has no place for an image volume", "Fetch")
    folder = images / image_folder(target.image)
    return ModelFiles(folder, folder, mounted=True)


def check_mounted(target: Target, files: ModelFiles) -> None:
    """What fetching sees to elsewhere: that a claim's folder is there, or an image, and is what was promised.
    Raises CheckpointError, DigestMismatch; reads a claim's whole folder where a digest was promised."""
    if target.image:
        _check_image(target.image, files)
        return
    source = plan_source(target.storage_uri)
    if source.scheme != "pvc":
        return
    if not files.folder.is_dir():
        where = f"folder {source.path} on the claim" if source.path else "claim"
        raise CheckpointMissing(f"{source.uri}: there is no {where} {source.place}")
    found = folder_digest(files.folder) if target.expected_digest else ""
    if found != target.expected_digest:
        raise DigestMismatch(
            f"{source.uri} has {found}, asked for was {target.expected_digest}: correct spec.model.digest, or"
            " put the right files there"
        )


def _check_image(image: str, files: ModelFiles) -> None:
    """An API server that does not know image volumes leaves them out of the pod without a word."""
    if not files.folder.is_dir():
        raise CheckpointMissing(
            f"image {image} is not mounted in this pod: that takes Kubernetes 1.35, or 1.33 with the feature"
            " gate ImageVolume, else spec.model.delivery Fetch"
        )


def folder_digest(folder: Path) -> str:
    """What ``spec.model.digest`` names of a folder: sha256 over a line ``<sha256>  <path>`` per file, sorted
    by path. Raises CheckpointError for a link to a folder: its files would be read, and in no line."""
    files: dict[str, Path] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() and path.is_dir():
            raise CheckpointError(f"{name} is a link to a folder, which no digest covers: put a folder there")
        if path.is_file():
            files[name] = path
    lines = "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(files))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def fetch_key(target: Target) -> str:
    """Name of the folder that a version is fetched into. Settings of the engine are not in it: a change of
    them must not fetch the same weights again."""
    identity = {"uri": target.storage_uri, "version": target.version, "expected": target.expected_digest}
    return digest_of(identity)[:KEY_LENGTH]


def leftovers(models: Path | None, key: str) -> frozenset[str]:
    """Names of fetched folders, whole or not, that belong to other versions than `key`'s."""
    if models is None or not models.is_dir():
        return frozenset()
    folders = (path.name for path in models.iterdir() if path.is_dir() and not path.is_symlink())
    return frozenset(name for name in folders if name.removesuffix(PARTIAL) != key)


def unused(leftovers: frozenset[str], loaded: Iterable[str | None]) -> frozenset[str]:
    """Those of `leftovers` that nothing was loaded from, by the keys of what is loaded. One that is not known
    (None: an earlier router loaded it) may be of any whole folder."""
    keys = set(loaded)
    return frozenset(name for name in leftovers if name.endswith(PARTIAL) or not {None, name} & keys)


def discard(models: Path, name: str) -> None:
    """Remove a fetched folder. It loses its name first: what a kill leaves of it must not look whole."""
    doomed = models / (name if name.endswith(PARTIAL) else f"{name}.discarded{PARTIAL}")
    if doomed.name != name:
        shutil.rmtree(doomed, ignore_errors=True)
        with suppress(OSError):
            (models / name).rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def version_of(target: Target, files: ModelFiles) -> str:
    """The user's name for the weights, else what the folder says of itself, else the version's own digest;
    digests by their first twelve digits."""
    if target.version:
        return target.version
    return (_recorded_digest(files.folder / RECORD) or target.digest)[:SHOWN_DIGEST]


def _recorded_digest(record: Path) -> str:
    """Empty where there is none that can be read. The file is whatever its source made of it."""
    try:
        # Neither a pipe, which would be waited for, nor what would fill the memory.
        if not record.is_file() or record.stat().st_size > MAX_RECORD_BYTES:
            return ""
        digest = json.loads(record.read_text("utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return digest if isinstance(digest, str) else ""
