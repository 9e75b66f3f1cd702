"""The settings document of one router process: read once at the start, never changed."""

from pathlib import Path
from typing import Annotated

import msgspec

from fastserve.errors import InvalidSpec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
LONGEST_SOCKET_PATH = 107
"""Bytes that Linux keeps for the path of a Unix socket, less the closing NUL."""
SOCKET_NAME_LENGTH = len("/01234567.sock")


class RouterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a router process needs to know before it starts.

    A router with a `member` stands beside that member's Triton and is the only writer of
    `repository_path`; one without is a stand-by door.
    """

    pool: str
    instance: str
    """Identity among the pool's routers."""
    member: str | None = None
    host: str = "127.0.0.1"
    data_port: Port
    admin_port: Port
    table_path: str
    """The route table, a JSON document (api/routes.py)."""
    peers_path: str
    """Who else is there (router/peers.py)."""
    run_path: str
    """Folder of the engine's Unix sockets."""
    prototypes_path: str
    computes_prototypes: bool = False
    """Compute missing prototypes and store them; the pool's other routers wait for the files."""
    encoder_path: str
    """Folder with model.onnx, tokenizer.json and encoder.json."""
    encoder_threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    triton_http: str | None = None
    triton_grpc: str | None = None
    repository_path: str | None = None
    drain_seconds: Annotated[float, msgspec.Meta(ge=0)] = 30.0


def read_settings(path: Path) -> RouterSettings:
    """Decode and check the document. Raises InvalidSpec, naming the field, where it cannot be used."""
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=RouterSettings)
    except OSError as error:
        raise InvalidSpec("settings", f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InvalidSpec("settings", f"{path}: {error}") from error
    _check(settings)
    return settings


def _check(settings: RouterSettings) -> None:
    if settings.member is None:
        return
    for field in ("triton_http", "triton_grpc", "repository_path"):
        if getattr(settings, field) is None:
            raise InvalidSpec(field, "is required for a router with a member")
    if len(settings.run_path.encode()) + SOCKET_NAME_LENGTH > LONGEST_SOCKET_PATH:
        raise InvalidSpec(
            "run_path",
            f"{settings.run_path} is too long for a Unix socket in it",
            f"at most {LONGEST_SOCKET_PATH - SOCKET_NAME_LENGTH} bytes",
        )
