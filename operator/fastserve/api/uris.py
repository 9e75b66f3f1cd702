"""Where files lie, as users write it: ``file://`` and a percent-encoded path."""

from pathlib import Path
from urllib.parse import unquote

from fastserve.errors import CheckpointError

FILE_SCHEME = "file://"


def path_of(uri: str) -> Path:
    """The path of a ``file://`` URI. Raises CheckpointError for any other."""
    if not uri.startswith(FILE_SCHEME):
        raise CheckpointError(f"{uri} is not a file:// URI")
    return Path(unquote(uri.removeprefix(FILE_SCHEME)))
