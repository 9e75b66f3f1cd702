"""This router's own Triton: model control over gRPC, inference over raw HTTP/1.1.

Control goes over gRPC because load and unload over HTTP stall live requests for seconds. Inference goes
over HTTP because it costs a quarter of the CPU there (docs/decisions/0002-http-stack.md).
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Protocol

import msgspec
import tritonclient.grpc.aio as triton_grpc
from tritonclient.utils import InferenceServerException

from fastserve import errors
from fastserve.api.versions import DEFINITE, LOAD_FAILED
from fastserve.errors import (
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
    EngineError,
    FastServeError,
    StubDead,
)
from fastserve.foreign_json import ForeignReader, Unreadable
from fastserve.router.oip import HEADER_LENGTH, Scores, infer_body, read_answer
from fastserve.router.pulse import Pulse
from fastserve.router.tracing import NOTHING, Step, current
from fastserve.router.upstream import Upstream

CONTROL_SECONDS = 2.0
"""For questions. Loading has its own, longer bound."""
LOAD_SECONDS = 660.0
"""More than the engine's own bound, so that the engine is the one to say why."""
RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
"""Left to itself, gRPC looks for a Triton that was away for long only every two minutes."""
WORDLESS = "Triton gave no reason"
"""Of an error that lost its words on the way: whoever wrote it may have died."""
_errors = ForeignReader(dict[str, object])
_REASON = re.compile(r"\b(?P<reason>[A-Z][a-z]+(?:[A-Z][a-z0-9]+)+): (?P<text>[^\n]+)")
_TREE = (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FastServeError))
_OWN_REASONS = DEFINITE | {one.reason for one in _TREE}
"""What our engine can say. Any other word is the name of an exception in somebody's code."""


class LoadFailed(EngineError):
    """A load that Triton refused; `reason` is the engine's own word."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Queued(msgspec.Struct, frozen=True):
    """`seconds` that `requests` waited in Triton before their inference began, all together, and in how many
    `batches` they were computed."""

    requests: int = 0
    seconds: float = 0.0
    batches: int = 0


class TritonControl(Protocol):
    """What the sidecar needs of Triton's model control. Every method raises BackendUnavailable."""

    async def live(self) -> bool: ...

    async def index(self) -> dict[str, str]:
        """State of every model in the repository that was ever loaded: READY, LOADING, UNAVAILABLE, …"""
        ...

    async def load(self, name: str) -> None:
        """Returns when the model is loaded. Raises LoadFailed with the engine's reason."""
        ...

    async def unload(self, name: str) -> None:
        """Returns when the unloading began; only the index tells when it is done."""
        ...

    async def queued(self, name: str) -> Queued:
        """What its requests waited in Triton since it was loaded."""
        ...

    async def close(self) -> None: ...


class GrpcTritonControl:
    """TritonControl over tritonclient.grpc.aio."""

    def __init__(self, address: str) -> None:
        self._client = triton_grpc.InferenceServerClient(address, channel_args=RECONNECT)

    async def live(self) -> bool:
        try:
            return bool(await self._client.is_server_live(client_timeout=CONTROL_SECONDS))
        except InferenceServerException:
            return False

    async def index(self) -> dict[str, str]:
        try:
            index = await self._client.get_model_repository_index(client_timeout=CONTROL_SECONDS)
        except InferenceServerException as error:
            raise BackendUnavailable(f"Triton's repository index: {error}") from error
        states: dict[str, str] = {}
        for model in index.models:
            if model.state:
                states[model.name] = model.state
        return states

    async def load(self, name: str) -> None:
        try:
            await self._client.load_model(name, client_timeout=LOAD_SECONDS)
        except InferenceServerException as error:
            if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"):
                raise BackendUnavailable(f"Triton went away while {name} was loaded") from error
            raise load_failure(str(error.message())) from error

    async def unload(self, name: str) -> None:
        try:
            await self._client.unload_model(name, client_timeout=CONTROL_SECONDS)
        except InferenceServerException as error:
            raise BackendUnavailable(f"Triton did not unload {name}: {error}") from error

    async def queued(self, name: str) -> Queued:
        try:
            found = await self._client.get_inference_statistics(name, client_timeout=CONTROL_SECONDS)
        except InferenceServerException as error:
            raise BackendUnavailable(f"Triton's statistics of {name}: {error}") from error
        queues = [one.inference_stats.queue for one in found.model_stats]
        batches = sum(one.execution_count for one in found.model_stats)
        return Queued(sum(one.count for one in queues), sum(one.ns for one in queues) / 1e9, batches)

    async def close(self) -> None:
        await self._client.close()


def load_failure(text: str) -> LoadFailed:
    """The engine's ``Reason: sentence`` in what Triton wraps around it."""
    for found in _REASON.finditer(text):
        reason, sentence = found["reason"], found["text"].strip()
        while (inner := _REASON.match(sentence)) and reason not in _OWN_REASONS:
            reason, sentence = inner["reason"], inner["text"].strip()
        if reason in _OWN_REASONS:
            return LoadFailed(reason, sentence)
    return LoadFailed(LOAD_FAILED, text.strip().splitlines()[0] if text.strip() else WORDLESS)


class Question(msgspec.Struct, frozen=True):
    """What a model of Triton is asked: the `output` of n texts. `request_id` is the request's at the door."""

    model: str
    texts: Sequence[bytes]
    output: str
    request_id: str = ""

    @property
    def path(self) -> str:
        return f"/v2/models/{self.model}/infer"


class TritonInference:
    """Inference in this router's own Triton. Its pulse counts the requests' inferences."""

    def __init__(self, address: str) -> None:
        self.pulse = Pulse()
        self.dead: set[str] = set()
        """Models whose process is dead by Triton's own word; whoever loads one anew takes it out."""
        self._base = f"http://{address}"
        self._upstream = Upstream(address)
        self._beside = Upstream(address)

    async def infer(self, question: Question, seconds: float) -> Scores:
        """Scores, float32 [n, L], of n texts. Raises BackendError and its children."""
        clock, pulse = asyncio.get_running_loop().time, self.pulse
        start = clock()
        pulse.begin(start)
        try:
            with current().call(self._base, question.path, question.model) as step:
                scores = await self._ask(self._upstream, question, seconds, step)
        except BaseException:
            pulse.failed()
            raise
        end = clock()
        pulse.answered(end, end - start)
        return scores

    async def aside(self, question: Question, seconds: float) -> Scores:
        """As infer, of what is none of the requests': it is not counted, and not broken off with them."""
        return await self._ask(self._beside, question, seconds, NOTHING)

    async def live(self, seconds: float) -> bool:
        """Whether the server says in time that it is live; its models may be dead all the same. Raises
        BackendUnavailable where nobody listens."""
        try:
            return (await self._beside.get("/v2/health/live", seconds)).status == 200
        except BackendTimeout:
            return False

    async def _ask(self, upstream: Upstream, question: Question, seconds: float, step: Step) -> Scores:
        try:
            return await _infer(upstream, question, seconds, step)
        except StubDead:
            self.dead.add(question.model)
            raise

    def break_off(self, why: str) -> None:
        """End the requests' inferences that are under way with BackendLost."""
        self._upstream.break_off(why)

    def close(self) -> None:
        self._upstream.close()
        self._beside.close()


async def _infer(upstream: Upstream, question: Question, seconds: float, step: Step) -> Scores:
    count, request_id = len(question.texts), question.request_id
    lines, body = infer_body(question.texts, (count, 1), (question.output,), request_id)
    reply = await upstream.post(question.path, lines + step.triton_lines, body, seconds)
    step.answered(reply.status)
    if reply.status != 200:
        raise triton_error(reply.status, reply.body)
    result = read_answer(reply.body, reply.headers.get(HEADER_LENGTH), request_id)
    if len(result.scores) != count:
        raise BackendError(f"Triton answered {len(result.scores)} rows for {count} texts")
    return result.scores


def triton_error(status: int, body: bytes) -> BackendError:
    """What Triton's answer means, for who waits and for the model's health."""
    try:
        text = str(_errors.read(body)["error"]) or WORDLESS
    except (Unreadable, KeyError):
        text = body[:200].decode("latin-1")
    if "exceeds maximum queue size" in text.lower():
        return BackendOverloaded(text)
    if "timeout expired" in text.lower():
        return BackendTimeout(text)
    if "tub process" in text and "is not healthy" in text:
        return StubDead(text)
    if "RankDied: " in text or text == WORDLESS:
        return BackendLost(text)
    if status in (404, 503) or "unknown model" in text:
        return BackendUnavailable(text)
    return BackendError(text)
