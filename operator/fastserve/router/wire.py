"""What the doors read and write as JSON: msgspec structs, and the words for what does not fit them.

``docs/openapi.yaml`` is generated from these (router/openapi.py).
"""

import difflib
import re
from typing import Any, Literal

import msgspec

from fastserve.router.answers import Refusal

MAX_TOP_K = 16
MAX_DEADLINE_MILLIS = 600_000
MAX_SHOWN = 80
"""Characters of a caller's word that an error repeats."""
Decision = Literal["Selected", "Fallback", "Direct", "Rejected"]


class _Strict(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What callers write: a field that is not known is an error, not noise."""


class _Open(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What we write: a field without a value is left out."""


class PredictRequest(_Strict, frozen=True):
    """Body of POST /v1/predict and POST /v1/route."""

    text: str
    """The text to answer; not empty."""
    top_k: int | None = None
    """How many sub-models may answer, 1 to 16; default: the pool's."""
    deadline_millis: int | None = None
    """Milliseconds within which to answer, 1 to 600000; default: the pool's."""
    sub_model: str | None = None
    """Ask this sub-model and bypass the selection."""


class MemberAnswer(_Open, frozen=True):
    """What one chosen sub-model said."""

    name: str
    weight: float
    """Share in the combination; the shares of those that answered sum to 1."""
    similarity: float
    """Cosine similarity of the text to the nearest prototype."""
    status: Literal["answered", "late", "failed"]
    label: str | None = None
    score: float | None = None
    version: str = ""
    error: str = ""


class PredictAnswer(_Open, frozen=True):
    """Answer of POST /v1/predict. Classification has label, score and scores; Embedding has embedding."""

    request_id: str
    decision: Decision
    members: tuple[MemberAnswer, ...]
    confidence: float
    """Belief in the nearest of those asked, 0 to 1."""
    coverage: float
    """Weight of those that answered in time, 0 to 1."""
    degraded: bool
    """Whether an answer is missing in the combination."""
    label: str | None = None
    score: float | None = None
    scores: dict[str, float] | None = None
    embedding: tuple[float, ...] | None = None


class MemberExplained(_Open, frozen=True):
    """How one sub-model stands to a text."""

    name: str
    similarity: float | None
    """None where the sub-model has no prototypes yet."""
    belief: float
    """Softmax of the similarities at temperature 0.04, over all sub-models."""
    ready: bool
    chosen: bool
    weight: float
    because: str


class RouteAnswer(_Open, frozen=True):
    """Answer of POST /v1/route: what would be asked, and why. Nothing runs."""

    request_id: str
    decision: Decision
    threshold: float
    """selection.minScore of the pool."""
    confidence: float
    because: str
    members: tuple[MemberExplained, ...]


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Every error of every door."""

    error: str
    """A sentence for people."""
    reason: str
    """One stable word for programs."""


Scalar = str | int | float | bool | None
"""What the protocol allows as a parameter. Typed, so that nobody nests what nobody reads."""


class InferTensor(msgspec.Struct, frozen=True):
    """A tensor of the Open Inference Protocol; `data` or binary data, never both."""

    name: str
    datatype: str = ""
    shape: tuple[int, ...] = ()
    parameters: dict[str, Scalar] = {}
    data: list[Scalar | list[Scalar]] | None = None


class WantedOutput(msgspec.Struct, frozen=True):
    """An output that the caller asks for."""

    name: str
    parameters: dict[str, Scalar] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """Body of POST /v2/models/{name}/infer."""

    inputs: tuple[InferTensor, ...]
    id: str = ""
    parameters: dict[str, Scalar] = {}
    outputs: tuple[WantedOutput, ...] = ()


class InferAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer of POST /v2/models/{name}/infer, and of Triton."""

    model_name: str
    outputs: tuple[InferTensor, ...]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = {}


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer of GET /readyz. Peers learn a member's labels and version from it."""

    ready: bool
    because: str
    member: str = ""
    version: str = ""
    labels: tuple[str, ...] = ()


class TensorMetadata(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, frozen=True):
    """Answer of GET /v2/models/{name}."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ServerMetadata(msgspec.Struct, frozen=True):
    """Answer of GET /v2."""

    name: str
    version: str
    extensions: tuple[str, ...]


_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_TYPE = re.compile(r"Expected `(?P<want>[^`]*)`, got `(?P<got>[^`]*)`")
_PLACE = re.compile(r"at `\$\.?(?P<path>[^`]*)`")
_POSITION = re.compile(r"\(byte (?P<byte>\d+)\)")


class Reader:
    """Decodes one kind of body; raises Refusal with the word and the sentence for what is wrong."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._fields = tuple(field.encode_name for field in msgspec.structs.fields(kind))

    def read(self, body: bytes) -> Any:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._misfit(str(error)) from error
        except UnicodeDecodeError as error:
            raise Refusal("TextNotUtf8", f"the body is not UTF-8: {_utf8_fault(body)}") from error
        except RecursionError as error:
            raise Refusal("BadJson", "the body is nested too deep") from error
        except msgspec.DecodeError as error:
            raise Refusal("BadJson", _syntax(body, str(error))) from error

    def _misfit(self, text: str) -> Refusal:
        place = _PLACE.search(text)
        path = place["path"] if place else ""
        if unknown := _UNKNOWN.search(text):
            return Refusal("UnknownField", self._unknown(unknown["name"]))
        if missing := _MISSING.search(text):
            name = f"{path}.{missing['name']}" if path else missing["name"]
            return Refusal("MissingField", f"the field {name!r} is required")
        if wrong := _TYPE.search(text):
            where = f"the field {path!r}" if path else "the body"
            return Refusal("WrongType", f"{where} must be {wrong['want']}, not {wrong['got']}")
        return Refusal("WrongType", text)

    def _unknown(self, name: str) -> str:
        name = name[:MAX_SHOWN]
        near = difflib.get_close_matches(name.lower(), [field.lower() for field in self._fields], 1, 0.5)
        nearest = next((field for field in self._fields if near and field.lower() == near[0]), None)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        return f"the field {name!r} is not known{hint} (allowed: {', '.join(self._fields)})"


def _syntax(body: bytes, text: str) -> str:
    position = _POSITION.search(text)
    offset = int(position["byte"]) if position else len(body)
    before = body[:offset]
    line, column = before.count(b"\n") + 1, offset - (before.rfind(b"\n") + 1) + 1
    what = _POSITION.sub("", text).strip()
    return f"the body is not JSON: {what} at byte {offset} (line {line}, column {column})"


def _utf8_fault(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} is 0x{body[error.start]:02x} ({error.reason})"
    return "an escape stands for half a character"
