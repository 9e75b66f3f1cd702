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
from fastserve.router.answers import Answer, Refusal
from fastserve.router.wire import MAX_SHOWN, InferAnswer, InferRequest, InferTensor, Reader

Scores = npt.NDArray[np.float32]
HEADER_LENGTH = b"inference-header-content-length"
MAX_DIGITS = 12
MAX_TEXTS = 1024
"""In one request; choosing for more would keep every other request waiting."""
MAX_LABELS = 1 << 16
_LENGTH = struct.Struct("<I")
_reader = Reader(InferRequest)
_answers = msgspec.json.Decoder(InferAnswer)


class TextBatch(msgspec.Struct, frozen=True):
    """What an infer request asks: texts as UTF-8, and which outputs in which form (True is binary)."""

    texts: tuple[bytes, ...]
    outputs: dict[str, bool]
    id: str = ""


def read_infer(body: bytes, header_length: bytes | None, outputs: Sequence[str]) -> TextBatch:
    """Read a request for one input `text` (BYTES, [n] or [n, 1]). Raises Refusal."""
    cut = _cut(body, header_length)
    request: InferRequest = _reader.read(body[:cut])
    tensor = _text_input(request)
    size = tensor.parameters.get("binary_data_size")
    count = _rows(tensor.shape)
    texts = _from_json(tensor, count) if size is None else _from_binary(tensor, body[cut:], count)
    if len(texts) != count:
        raise Refusal("BadTensor", f"input text has shape {list(tensor.shape)} but {len(texts)} elements")
    return TextBatch(tuple(texts), _wanted(request, outputs), request.id)


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


def _cut(body: bytes, header_length: bytes | None) -> int:
    if header_length is None:
        return len(body)
    if not header_length.isdigit() or len(header_length) > MAX_DIGITS or int(header_length) > len(body):
        text = header_length[:40].decode("latin-1")
        raise Refusal("BadTensor", f"Inference-Header-Content-Length is {text!r} for {len(body)} bytes")
    return int(header_length)


def _text_input(request: InferRequest) -> InferTensor:
    for tensor in request.inputs:
        if tensor.name != "text":
            raise Refusal("BadTensor", f"input {tensor.name[:MAX_SHOWN]!r} is not known (allowed: text)")
    if len(request.inputs) != 1:
        raise Refusal("BadTensor", f"exactly one input text is required, not {len(request.inputs)}")
    if request.inputs[0].datatype != "BYTES":
        shown = request.inputs[0].datatype[:MAX_SHOWN]
        raise Refusal("BadTensor", f"input text must be BYTES, not {shown!r}")
    return request.inputs[0]


def _rows(shape: tuple[int, ...]) -> int:
    if len(shape) not in (1, 2) or min(shape) < 1 or (len(shape) == 2 and shape[1] != 1):
        shown = str(list(shape))[:MAX_SHOWN]
        raise Refusal("BadTensor", f"input text must have shape [n] or [n, 1], not {shown}")
    if shape[0] > MAX_TEXTS:
        shown = str(shape[0])[:MAX_SHOWN]
        raise Refusal("OutOfRange", f"input text has {shown} texts (allowed: 1 to {MAX_TEXTS})")
    return shape[0]


def _from_json(tensor: InferTensor, count: int) -> list[bytes]:
    if tensor.data is None:
        raise Refusal("BadTensor", "input text has neither data nor binary_data_size")
    rows = [row if isinstance(row, list) else (row,) for row in tensor.data[: count + 1]]
    if len(rows) > count or sum(map(len, rows)) > count:
        raise _too_many(count)
    flat = [one for row in rows for one in row]
    for one in flat:
        if not isinstance(one, str):
            raise Refusal("BadTensor", f"elements of input text must be strings, not {type(one).__name__}")
    return [str(one).encode() for one in flat]


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


def _wanted(request: InferRequest, allowed: Sequence[str]) -> dict[str, bool]:
    default = bool(request.parameters.get("binary_data_output", False))
    if not request.outputs:
        return dict.fromkeys(allowed, default)
    for output in request.outputs:
        if output.name not in allowed:
            names = ", ".join(allowed)
            shown = output.name[:MAX_SHOWN]
            raise Refusal("BadTensor", f"output {shown!r} is not known (allowed: {names})")
    return {one.name: bool(one.parameters.get("binary_data", default)) for one in request.outputs}


class Result(msgspec.Struct, frozen=True, eq=False):
    """Rows of an answer. `scores` is float32 [n, L]; `output` is its name, scores or embedding."""

    model: str
    output: str
    scores: Scores
    labels: tuple[str, ...] = ()
    version: str = ""


def render(result: Result, batch: TextBatch, headers: tuple[tuple[str, str], ...]) -> Answer:
    """The answer to an infer request, each output as JSON or binary, as it was asked for."""
    tensors, blobs = [], []
    for name, binary in batch.outputs.items():
        datatype = "BYTES" if name == "labels" else "FP32"
        shape = (len(result.scores), len(result.labels) if name == "labels" else result.scores.shape[1])
        if binary:
            blob = _blob(result, name)
            blobs.append(blob)
            tensors.append(InferTensor(name, datatype, shape, {"binary_data_size": len(blob)}))
        else:
            tensors.append(InferTensor(name, datatype, shape, data=_data(result, name)))
    document = [_tensor_json(tensor) for tensor in tensors]
    head = msgspec.json.encode(
        {"model_name": result.model, "model_version": result.version, "id": batch.id, "outputs": document}
    )
    if not blobs:
        return Answer(200, head, headers)
    headers = (*headers, ("inference-header-content-length", str(len(head))))
    return Answer(200, b"".join((head, *blobs)), headers, content_type="application/octet-stream")


def _tensor_json(tensor: InferTensor) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    if tensor.data is None:
        return {**fields, "parameters": tensor.parameters}
    return {**fields, "data": tensor.data}


def _blob(result: Result, name: str) -> bytes:
    if name == "labels":
        return _labels_blob(result.labels) * len(result.scores)
    return result.scores.astype("<f4", copy=False).tobytes()


def _data(result: Result, name: str) -> list[Any]:
    if name == "labels":
        return list(result.labels) * len(result.scores)
    return list(result.scores.ravel().tolist())


@lru_cache(maxsize=256)
def _labels_blob(labels: tuple[str, ...]) -> bytes:
    return join_bytes([label.encode() for label in labels])


@lru_cache(maxsize=256)
def _labels_of(blob: bytes) -> tuple[str, ...]:
    return tuple(element.decode() for element in split_bytes(blob, MAX_LABELS))


def infer_body(texts: Sequence[bytes], shape: Sequence[int], outputs: Sequence[str]) -> tuple[bytes, bytes]:
    """An infer request in binary for one input `text`: its header lines and its body."""
    blob = join_bytes(texts)
    wanted = ",".join([f'{{"name":"{name}","parameters":{{"binary_data":true}}}}' for name in outputs])
    head = (
        f'{{"inputs":[{{"name":"text","datatype":"BYTES","shape":[{",".join(map(str, shape))}],'
        f'"parameters":{{"binary_data_size":{len(blob)}}}}}],"outputs":[{wanted}]}}'
    ).encode()
    lines = b"content-type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % len(head)
    return lines, head + blob


def read_answer(body: bytes, header_length: bytes | None) -> Result:
    """The binary outputs scores or embedding, and labels, of another server. Raises BackendError."""
    try:
        cut = int(header_length) if header_length is not None else len(body)
        answer = _answers.decode(body[:cut])
        return _result(answer, memoryview(body)[cut:])
    except (msgspec.DecodeError, ValueError, Refusal) as error:
        raise BackendError(f"the answer cannot be read: {error}") from error


def _result(answer: InferAnswer, blob: memoryview) -> Result:
    scores: Scores | None = None
    labels: tuple[str, ...] = ()
    name, at = "", 0
    for tensor in answer.outputs:
        end = at + int(tensor.parameters.get("binary_data_size") or 0)
        part = blob[at:end]
        if tensor.name == "labels":
            labels = _labels_of(bytes(part[: len(part) // max(1, tensor.shape[0])]))
        elif len(tensor.shape) == 2:
            name, scores = tensor.name, np.frombuffer(part, "<f4").reshape(tensor.shape)
        at = end
    if scores is None:
        raise BackendError("the answer has no scores")
    return Result(answer.model_name, name, scores, labels, answer.model_version)
