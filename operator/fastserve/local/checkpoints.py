"""Reads what the plan must know of a checkpoint folder; never its weights' values."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from fastserve.api.uris import path_of
from fastserve.errors import CheckpointError, CheckpointMissing
from fastserve.planning.facts import CheckpointFacts

ARTEFACT_FILE = "fastserve.json"


def read_facts(storage_uri: str) -> CheckpointFacts:
    """Facts of the checkpoint at `storage_uri`; raises CheckpointError with what is missing or unreadable."""
    folder = path_of(storage_uri)
    try:
        return _facts(folder)
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder} cannot be read: {error.strerror}") from error


def read_custom_facts(storage_uri: str) -> CheckpointFacts:
    """Facts of a Triton model folder of the user's own: no config.json to cut by; all files count as weights.
    Raises CheckpointError where there is none, or it cannot be read."""
    folder = path_of(storage_uri)
    if not folder.is_dir():
        raise CheckpointMissing(f"no model folder at {folder}: write or copy one there")
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = "\n".join(str(path.relative_to(folder)) for path in files)
        digest = hashlib.sha256(names.encode() + _hashes(files))
        return CheckpointFacts({}, digest.hexdigest(), sum(file.stat().st_size for file in files))
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder} cannot be read: {error.strerror}") from error


def _facts(folder: Path) -> CheckpointFacts:
    if not folder.is_dir():
        raise CheckpointMissing(f"no checkpoint folder at {folder}: train or copy one there")
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    weights = sorted(folder.glob("*.safetensors"))
    if missing or not weights:
        raise CheckpointError(
            f"{folder} is no Hugging Face checkpoint: {', '.join(missing or ['*.safetensors'])} missing"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.json'} holds no block of fields")
    return CheckpointFacts(
        config=config,
        digest=_digest(folder, weights),
        weight_bytes=sum(file.stat().st_size for file in weights),
    )


def _digest(folder: Path, weights: list[Path]) -> str:
    """What the artefact says of itself, or the hash of what is there."""
    artefact = folder / ARTEFACT_FILE
    if artefact.is_file():
        try:
            return str(json.loads(artefact.read_text())["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{artefact} does not tell a digest: {error!r}") from error
    files = [folder / "config.json", folder / "tokenizer.json", *weights]
    return hashlib.sha256(_hashes(files)).hexdigest()


def _hashes(files: Iterable[Path]) -> bytes:
    """SHA-256 of each file, one after the other."""
    hashes = []
    for file in files:
        with file.open("rb") as content:
            hashes.append(hashlib.file_digest(content, "sha256").digest())
    return b"".join(hashes)
