"""Triton's model repository on disk. The router is its only writer."""

import shutil
from collections.abc import Mapping
from pathlib import Path


def write_model(folder: Path, files: Mapping[str, str]) -> None:
    """Write a model's folder: relative path to text. Triton reads it only when it is told to load."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def models_in(repository: Path) -> frozenset[str]:
    """Names of the folders that are there."""
    if not repository.is_dir():
        return frozenset()
    return frozenset(path.name for path in repository.iterdir() if path.is_dir())


def remove_model(repository: Path, name: str) -> None:
    shutil.rmtree(repository / name, ignore_errors=True)
