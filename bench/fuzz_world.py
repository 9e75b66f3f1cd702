"""What stands around the fuzzed routers: their encoder, and a stand-in for Triton that is strict."""

import asyncio
import json
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

import http_stack
import router_cost
from fastserve.router.app import Doors, Router
from fastserve.router.settings import read_settings

_HEAD = re.compile(
    rb"POST /v2/models/[a-z]+-[0-9a-f]{8}/infer HTTP/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n"
    rb"content-length: (?P<length>\d+)\r\ncontent-type: application/octet-stream\r\n"
    rb"Inference-Header-Content-Length: (?P<cut>\d+)\r\n\r\n"
)
_COUNT = re.compile(rb"GET /count HTTP/1\.1\r\nhost: [^\r\n]+\r\n\r\n")


class TwoWords:
    """Texts without either word are a little like both: spoilt ones are many."""

    digest = "two words, or none"

    def encode(self, texts: Sequence[str], _max_tokens: int) -> npt.NDArray[np.float32]:
        rows = np.full((len(texts), 8), 0.05, np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[: len(router_cost.MEMBERS)] += [float(word in text) for word in router_cost.MEMBERS]
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


class StrictTriton:
    """Answers requests that are framed to the byte as a router frames them, and counts all others."""

    def __init__(self) -> None:
        self.inferences = self.malformed = 0

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n"), reader))
        writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        if _COUNT.fullmatch(head):
            body = json.dumps({"inferences": self.inferences, "malformed": self.malformed}).encode()
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        framed = _HEAD.fullmatch(head)
        if framed is None:
            self.malformed += 1
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        body = await reader.readexactly(int(framed["length"]))
        rows = rows_of(body, int(framed["cut"]))
        if rows == 0:
            self.malformed += 1
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        self.inferences += 1
        return scores_of(rows)


def rows_of(body: bytes, cut: int) -> int:
    """How many texts came; 0 where JSON, shape and bytes do not agree."""
    tensor = json.loads(body[:cut])["inputs"][0]
    at, found = cut, 0
    while at + 4 <= len(body):
        at += 4 + struct.unpack_from("<I", body, at)[0]
        found += 1
    fits = at == len(body) == cut + tensor["parameters"]["binary_data_size"]
    return found if fits and tensor["shape"] == [found, 1] else 0


def scores_of(rows: int) -> bytes:
    scores = np.full((rows, http_stack.LABELS), 1.0 / http_stack.LABELS, np.float32).tobytes()
    parameters = {"binary_data_size": len(scores)}
    tensor = {
        "name": "scores",
        "datatype": "FP32",
        "shape": [rows, http_stack.LABELS],
        "parameters": parameters,
    }
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": [tensor]}).encode()
    lines = b"content-length: %d\r\nInference-Header-Content-Length: %d" % (
        len(head) + len(scores),
        len(head),
    )
    return b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b%b" % (lines, head, scores)


async def serve_router(path: Path) -> None:
    """The router process of the settings at `path`."""
    settings = read_settings(path)
    control = router_cost.LoadedTriton(Path(settings.run_path)) if settings.member else None
    await Router(settings, TwoWords(), control).serve(Doors.open(settings))
