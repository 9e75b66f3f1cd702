"""The JSON heads of binary tensor messages, read and written with a memory. Pure.

The same few come again and again: messages differ in the bytes behind them.

Remembered is by the head's bytes and whatever else the result depends on, the latest first. A head that is
refused is read anew each time; a head that is long or has a caller's id is not remembered.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from fastserve.foreign_json import ForeignReader
from fastserve.router.answers import Refusal
from fastserve.router.wire import MAX_SHOWN, InferAnswer, InferRequest, InferTensor, Reader

MAX_REMEMBERED_BYTES = 2048
MOST_REMEMBERED = 512
"""Of each kind. Texts differ in length, and each length makes another head."""
MAX_TEXTS = 1024
"""In one request; choosing for more would keep every other request waiting."""
_reader = Reader(InferRequest)
_answers = ForeignReader(InferAnswer)


class Asked(msgspec.Struct, frozen=True):
    """What the head of an infer request asks: `count` texts in `tensor`, and outputs, each with whether it is
    to be binary."""

    tensor: InferTensor
    count: int
    outputs: tuple[tuple[str, bool], ...]
    id: str


class Part(msgspec.Struct, frozen=True):
    """Where a tensor lies behind the head."""

    name: str
    shape: tuple[int, ...]
    start: int
    end: int


class Answered(msgspec.Struct, frozen=True):
    """What the head of an infer answer tells."""

    model: str
    version: str
    parts: tuple[Part, ...]


class Shown(msgspec.Struct, frozen=True):
    """What the head of a binary answer depends on; of each tensor the name, the datatype, the shape and how
    many bytes it has."""

    model: str
    version: str
    id: str
    parts: tuple[tuple[str, str, tuple[int, ...], int], ...]


def asked(head: bytes, allowed: tuple[str, ...]) -> Asked:
    """Read the head of a request for one input `text`. Raises Refusal."""
    return _known_asked(head, allowed) if len(head) <= MAX_REMEMBERED_BYTES else read_asked(head, allowed)


def answered(head: bytes) -> Answered:
    """Read the head of a server's answer. Raises ValueError, or OverflowError for an infinite size."""
    return _known_answered(head) if len(head) <= MAX_REMEMBERED_BYTES else read_answered(head)


def shown(what: Shown) -> bytes:
    """The head of an answer whose tensors are all binary."""
    return write_shown(what) if what.id else _known_shown(what)


def read_asked(head: bytes, allowed: tuple[str, ...]) -> Asked:
    """As `asked`, without a memory."""
    request: InferRequest = _reader.read(head)
    tensor = _text_input(request)
    return Asked(tensor, _rows(tensor.shape), tuple(_wanted(request, allowed).items()), request.id)


def read_answered(head: bytes) -> Answered:
    """As `answered`, without a memory."""
    answer = _answers.read(head)
    parts, at = [], 0
    for tensor in answer.outputs:
        end = at + int(tensor.parameters.get("binary_data_size") or 0)
        parts.append(Part(tensor.name, tensor.shape, at, end))
        at = end
    return Answered(answer.model_name, answer.model_version, tuple(parts))


def write_shown(what: Shown) -> bytes:
    """As `shown`, without a memory."""
    outputs = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
        for name, datatype, shape, size in what.parts
    ]
    return head_of(what.model, what.version, what.id, outputs)


def head_of(model: str, version: str, request: str, outputs: list[dict[str, Any]]) -> bytes:
    """The head of an answer; `request` is the request's id."""
    document = {"model_name": model, "model_version": version, "id": request, "outputs": outputs}
    return msgspec.json.encode(document)


@lru_cache(maxsize=MOST_REMEMBERED)
def question(shape: tuple[int, ...], outputs: tuple[str, ...], size: int) -> tuple[bytes, bytes]:
    """The header lines and the head of a request for one binary input `text` of so many bytes."""
    wanted = ",".join([f'{{"name":"{name}","parameters":{{"binary_data":true}}}}' for name in outputs])
    head = (
        f'{{"inputs":[{{"name":"text","datatype":"BYTES","shape":[{",".join(map(str, shape))}],'
        f'"parameters":{{"binary_data_size":{size}}}}}],"outputs":[{wanted}]}}'
    ).encode()
    return _binary_lines(head), head


def named(head: bytes, request_id: str) -> tuple[bytes, bytes]:
    """As `question`, of its head and the request's id, which Triton tells in its traces and gives back."""
    head = b'{"id":%b,%b' % (msgspec.json.encode(request_id), head[1:])
    return _binary_lines(head), head


def unnamed(head: bytes, request_id: str) -> bytes:
    """The head of an answer without the id that Triton puts first: the rest was seen before."""
    start = b'{"id":%b,' % msgspec.json.encode(request_id)
    return b"{" + head[len(start) :] if head.startswith(start) else head


def _binary_lines(head: bytes) -> bytes:
    return b"content-type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % len(head)


_known_asked = lru_cache(maxsize=MOST_REMEMBERED)(read_asked)
_known_answered = lru_cache(maxsize=MOST_REMEMBERED)(read_answered)
_known_shown = lru_cache(maxsize=MOST_REMEMBERED)(write_shown)


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
