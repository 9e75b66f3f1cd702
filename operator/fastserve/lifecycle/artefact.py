"""A made model: a folder that carries its own identity, where it came from, and how good it is.

The identity is in ``fastserve.json`` beside the weights. Standard library only.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastserve.errors import CheckpointError, InvalidSpec

RECORD = "fastserve.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Origin:
    """What a model was made from: the folder's name, and the digest of what lay in it."""

    name: str
    digest: str


@dataclass(frozen=True)
class Artefact:
    """``fastserve.json``. `digest` is that of the folder's files; `metrics` speak of held-out rows."""

    digest: str
    parent: Origin
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a checkpoint's weights, config.json and tokenizer files.

    Other files (a README, ``fastserve.json`` itself) do not count. Raises CheckpointError where the
    folder has no config.json or no weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not weights:
        raise CheckpointError(f"{folder} is not a checkpoint: it needs config.json and *.safetensors")
    named = [folder / name for name in ("config.json", *TOKENIZER_FILES)]
    counted = sorted([*weights, *(path for path in named if path.is_file())])
    lines = "".join(f"{file_digest(path)}  {path.name}\n" for path in counted)
    return hashlib.sha256(lines.encode()).hexdigest()


def read_artefact(folder: Path) -> Artefact | None:
    """The folder's ``fastserve.json``, or None where it has none (a model from elsewhere).

    Raises CheckpointError where the file is there but is not what FastServe writes.
    """
    try:
        fields = json.loads((folder / RECORD).read_text("utf-8"))
        return Artefact(**{**fields, "parent": Origin(**fields["parent"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder / RECORD} cannot be read: {error}") from error


def write_artefact(folder: Path, artefact: Artefact) -> None:
    """Write ``fastserve.json``."""
    text = json.dumps(asdict(artefact), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", "utf-8")


def origin_of(folder: Path) -> Origin:
    """A folder as a parent."""
    return Origin(folder.resolve().name, folder_digest(folder))


def check_replaceable(output: Path, own_file: str) -> None:
    """Raise InvalidSpec where `output` holds something that we did not write: it lacks `own_file`."""
    if output.is_dir() and (not any(output.iterdir()) or (output / own_file).is_file()):
        return
    if output.exists():
        raise InvalidSpec("output", f"{output} exists and was not made by FastServe", "--overwrite")


@contextmanager
def folder_made_whole(output: Path) -> Iterator[Path]:
    """A folder beside `output` to write into; it takes `output`'s place when the block ends well.

    A reader sees the old folder or the new one, whole. After an error nothing is left behind.
    """
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(f".{output.name}.{os.getpid()}.new")
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    fresh.mkdir()
    try:
        yield fresh
        if output.exists():
            output.rename(old)
        fresh.rename(output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
