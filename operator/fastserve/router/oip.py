"""Tensors of the Open Inference Protocol v2, in JSON and in Triton's binary extension. Pure.

In binary, the JSON comes first (its length in the header ``Inference-Header-Content-Length``), then the
tensors one after the other: FP32 little endian, BYTES as a 32-bit length and the bytes, each element.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fastserve.errors import BackendError
from fastserve.router import heads
from fastserve.router.answers import Answer, Refusal
from fastserve.router.wire import MAX_SHOWN, InferTensor

Scores = npt.NDArray[np.float32]
HEADER_LENGTH = b"inference-header-content-length"
MAX_DIGITS = 12
MAX_LABELS = 1 << 16
MOST_LABELS = 256
"""Sets of labels that are kept ready."""
_LENGTH = struct.Struct("<I")
_FLOAT = np.dtype("<f4")


class TextBatch(msgspec.Struct, frozen=True):
    """What an infer request asks: texts as UTF-8, and outputs, each with whether it is to be binary."""

    texts: tuple[bytes, ...]
    outputs: tuple[tuple[str, bool], ...]
    id: str = ""


def read_infer(body: bytes, header_length: bytes | None, outputs: Sequence[str]) -> TextBatch:
    """Read a request for one input `text` (BYTES, [n] or [n, 1]). Raises Refusal."""
    if header_length is None:
        # Such a head holds the texts: it will not come again.
        asked, blob = heads.read_asked(body, tuple(outputs)), b""
    else:
        cut = _cut(body, header_length)
        asked, blob = heads.asked(body[:cut], tuple(outputs)), body[cut:]
    tensor, count = asked.tensor, asked.count
    binary = "binary_data_size" in tensor.parameters and tensor.parameters["binary_data_size"] is not None
    texts = _from_binary(tensor, blob, count) if binary else _from_json(tensor, count)
    if len(texts) != count:
        raise Refusal("BadTensor", f"input text has shape {list(tensor.shape)} but {len(texts)} elements")
    return TextBatch(texts, asked.outputs, asked.id)


def check_text(text: bytes) -> str:
    """The text as a str. Raises Refusal where it is no UTF-8 or nothing but white space."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        fault = f"byte {error.start} is 0x{text[error.start]:02x}"
        raise Refusal("TextNotUtf8", f"the text is not UTF-8: {fault}") from error
    if not decoded or decoded.isspace():
        raise Refusal("TextEmpty", "the text is empty")
    return decoded


def _cut(body: bytes, header_length: bytes) -> int:
    if not header_length.isdigit() or len(header_length) > MAX_DIGITS or int(header_length) > len(body):
        text = header_length[:40].decode("latin-1")
        raise Refusal("BadTensor", f"Inference-Header-Content-Length is {text!r} for {len(body)} bytes")
    return int(header_length)


def _from_json(tensor: InferTensor, count: int) -> tuple[bytes, ...]:
    if tensor.data is None:
        raise Refusal("BadTensor", "input text has neither data nor binary_data_size")
    rows = [row if isinstance(row, list) else (row,) for row in tensor.data[: count + 1]]
    if len(rows) > count or sum(map(len, rows)) > count:
        raise _too_many(count)
    flat = [one for row in rows for one in row]
    for one in flat:
        if not isinstance(one, str):
            raise Refusal("BadTensor", f"elements of input text must be strings, not {type(one).__name__}")
    return tuple([str(one).encode() for one in flat])


def _from_binary(tensor: InferTensor, blob: bytes, count: int) -> tuple[bytes, ...]:
    size = tensor.parameters["binary_data_size"]
    if tensor.data is not None:
        raise Refusal("BadTensor", "input text has both data and binary_data_size")
    if type(size) is not int or size != len(blob):
        shown = repr(size)[:MAX_SHOWN]
        raise Refusal("BadTensor", f"binary_data_size of input text is {shown}, but {len(blob)} bytes came")
    return split_bytes(blob, count)


def _too_many(count: int) -> Refusal:
    return Refusal("BadTensor", f"input text has more elements than its shape, which is for {count}")


def split_bytes(blob: bytes, most: int) -> tuple[bytes, ...]:
    """Elements of a binary BYTES tensor. Raises Refusal where the lengths do not fit, or where there are more
    than `most`."""
    if most == 1 and len(blob) >= 4 and _LENGTH.unpack_from(blob)[0] == len(blob) - 4:
        return (blob[4:],)
    elements: list[bytes] = []
    at = 0
    while at < len(blob):
        if len(elements) == most:
            raise _too_many(most)
        end = at + 4 + (_LENGTH.unpack_from(blob, at)[0] if at + 4 <= len(blob) else len(blob))
        if end > len(blob):
            raise Refusal("BadTensor", f"binary BYTES end at {len(blob)}, but an element ends at {end}")
        elements.append(blob[at + 4 : end])
        at = end
    return tuple(elements)


def join_bytes(elements: Sequence[bytes]) -> bytes:
    """A binary BYTES tensor."""
    return b"".join([part for one in elements for part in (_LENGTH.pack(len(one)), one)])


class Result(msgspec.Struct, frozen=True, eq=False):
    """Rows of an answer. `scores` is float32 [n, L]; `output` is its name, scores or embedding."""

    model: str
    output: str
    scores: Scores
    labels: tuple[str, ...] = ()
    version: str = ""


def render(result: Result, batch: TextBatch, headers: tuple[tuple[str, str], ...]) -> Answer:
    """The answer to an infer request, each output as JSON or binary, as it was asked for."""
    parts, blobs = [], []
    for name, binary in batch.outputs:
        if not binary:
            return _render_json(result, batch, headers)
        blob = _blob(result, name)
        blobs.append(blob)
        parts.append((name, *_kind(result, name), len(blob)))
    head = heads.shown(heads.Shown(result.model, result.version, batch.id, tuple(parts)))
    headers = (*headers, ("inference-header-content-length", str(len(head))))
    return Answer(200, b"".join((head, *blobs)), headers, content_type="application/octet-stream")


def _render_json(result: Result, batch: TextBatch, headers: tuple[tuple[str, str], ...]) -> Answer:
    """The answer where not all outputs are binary."""
    tensors, blobs = [], []
    for name, binary in batch.outputs:
        datatype, shape = _kind(result, name)
        if binary:
            blob = _blob(result, name)
            blobs.append(blob)
            tensors.append(InferTensor(name, datatype, shape, {"binary_data_size": len(blob)}))
        else:
            tensors.append(InferTensor(name, datatype, shape, data=_data(result, name)))
    head = heads.head_of(result.model, result.version, batch.id, [_tensor_json(tensor) for tensor in tensors])
    if not blobs:
        return Answer(200, head, headers)
    headers = (*headers, ("inference-header-content-length", str(len(head))))
    return Answer(200, b"".join((head, *blobs)), headers, content_type="application/octet-stream")


def _kind(result: Result, name: str) -> tuple[str, tuple[int, ...]]:
    """Datatype and shape of an output."""
    if name == "labels":
        return "BYTES", (len(result.scores), len(result.labels))
    return "FP32", result.scores.shape


def _tensor_json(tensor: InferTensor) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    if tensor.data is None:
        return {**fields, "parameters": tensor.parameters}
    return {**fields, "data": tensor.data}


def _blob(result: Result, name: str) -> bytes:
    if name == "labels":
        return _ready.blob(result.labels) * len(result.scores)
    return result.scores.astype(_FLOAT, copy=False).tobytes()


def _data(result: Result, name: str) -> list[Any]:
    if name == "labels":
        return list(result.labels) * len(result.scores)
    return list(result.scores.ravel().tolist())


class _ReadyLabels:
    """Labels as they go over the wire. Looked up by identity: a version's labels are one object as long as it
    serves, and to compare all of them costs more than all the rest of an answer."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[str, ...], bytes]] = {}

    def blob(self, labels: tuple[str, ...]) -> bytes:
        known = self._known.get(id(labels))
        if known is not None:
            return known[1]
        if len(self._known) >= MOST_LABELS:
            self._known.clear()
        blob = join_bytes([label.encode() for label in labels])
        # Whoever is held here keeps the identity.
        self._known[id(labels)] = (labels, blob)
        return blob


_ready = _ReadyLabels()


@lru_cache(maxsize=256)
def _labels_of(blob: bytes) -> tuple[str, ...]:
    return tuple(element.decode() for element in split_bytes(blob, MAX_LABELS))


def infer_body(
    texts: Sequence[bytes], shape: Sequence[int], outputs: Sequence[str], request_id: str = ""
) -> tuple[bytes, bytes]:
    """An infer request in binary for one input `text`: its header lines and its body."""
    blob = join_bytes(texts)
    lines, head = heads.question(tuple(shape), tuple(outputs), len(blob))
    if request_id:
        lines, head = heads.named(head, request_id)
    return lines, head + blob


def read_answer(body: bytes, header_length: bytes | None, request_id: str = "") -> Result:
    """The binary outputs scores or embedding, and labels, of another server, which was asked with that id.
    Raises BackendError."""
    try:
        cut = int(header_length) if header_length is not None else len(body)
        head = heads.unnamed(body[:cut], request_id) if request_id else body[:cut]
        return _result(heads.answered(head), memoryview(body)[cut:])
    except (ValueError, LookupError, OverflowError, Refusal) as error:
        raise BackendError(f"the answer cannot be read: {error}") from error


def _result(answer: heads.Answered, blob: memoryview) -> Result:
    scores: Scores | None = None
    labels: tuple[str, ...] = ()
    name = ""
    for tensor in answer.parts:
        part = blob[tensor.start : tensor.end]
        if tensor.name == "labels":
            labels = _labels_of(bytes(part[: len(part) // max(1, tensor.shape[0])]))
        elif len(tensor.shape) == 2:
            name, scores = tensor.name, np.frombuffer(part, _FLOAT).reshape(tensor.shape)
    if scores is None:
        raise BackendError("the answer has no scores")
    return Result(answer.model, name, scores, labels, answer.version)
