"""Frames between the supervisor and a rank: ``uint32 n | n bytes of JSON | raw float32, little-endian``.

One frame is one message of a `multiprocessing.connection.Connection`. Standard library only: one end of it
runs in Triton's Python stub, the other before the engine's environment was imported.

To a rank:    {"kind": "predict", "texts": [...]}
From a rank:  {"kind": "progress", "done", "total"}                        while it loads
              {"kind": "loaded", "labels", "width", "parameter_bytes", "peak_load_bytes"}
              {"kind": "scores", "rows", "width"} + the array              rank 0's answer
              {"kind": "done"}                                             the other ranks' answer
              {"kind": "failed", "reason", "message"}                      instead of any of these
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fastserve.errors import (
    CheckpointError,
    CheckpointMissing,
    DeviceMissing,
    EngineError,
    FastServeError,
    RankDied,
)

_LENGTH = struct.Struct("<I")
_ERRORS: dict[str, type[FastServeError]] = {
    error.reason: error
    for error in (CheckpointError, CheckpointMissing, DeviceMissing, EngineError, RankDied)
}


@dataclass(frozen=True)
class Message:
    """One frame taken apart; `payload` is what follows the header."""

    header: Mapping[str, Any]
    payload: memoryview

    @property
    def kind(self) -> str:
        return str(self.header["kind"])

    def error(self) -> FastServeError:
        """The error of a ``failed`` frame, of its own class where there is one."""
        return error_of(self.header["reason"], self.header["message"])


def error_of(reason: str, message: str) -> FastServeError:
    """The error of the tree that has this reason; an EngineError that says it where none has."""
    error = _ERRORS.get(reason, EngineError)(message)
    error.reason = reason
    return error


def send(channel: Connection, header: Mapping[str, Any], payload: bytes = b"") -> None:
    """Send a frame. Raises OSError where the other end is gone."""
    text = json.dumps(header, ensure_ascii=False).encode()
    channel.send_bytes(b"".join((_LENGTH.pack(len(text)), text, payload)))


def receive(channel: Connection) -> Message:
    """Wait for one frame. Raises EOFError or OSError where the other end is gone."""
    frame = memoryview(channel.recv_bytes())
    end = _LENGTH.size + _LENGTH.unpack_from(frame)[0]
    return Message(json.loads(bytes(frame[_LENGTH.size : end])), frame[end:])
