"""The data port: which path leads where, and every error as an answer."""

import asyncio
import logging
import re
import secrets
from itertools import count

import numpy as np

from fastserve import __version__
from fastserve.errors import FastServeError
from fastserve.router import audit, predicting
from fastserve.router.answers import Answer, Refusal, error_answer, json_answer, refusal_of
from fastserve.router.asking import Ask, Asking, RowAnswer
from fastserve.router.caller import HOP_HEADER, caller_at_door, caller_on_hop
from fastserve.router.combination import places, union
from fastserve.router.encoder import EncoderService
from fastserve.router.guard import Guard
from fastserve.router.keys import Role
from fastserve.router.metrics import Metrics
from fastserve.router.oip import HEADER_LENGTH, Result, Scores, TextBatch, check_text, read_infer, render
from fastserve.router.pool import Pool
from fastserve.router.protocol import Request
from fastserve.router.replicas import MemberCall
from fastserve.router.wire import ModelMetadata, ServerMetadata, TensorMetadata

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
DATA_PATHS: dict[str, str] = {
    "/v1/predict": "POST",
    "/v1/route": "POST",
    "/v2": "GET",
    "/v2/health/live": "GET",
    "/v2/health/ready": "GET",
    "/v2/models/{name}": "GET",
    "/v2/models/{name}/ready": "GET",
    "/v2/models/{name}/infer": "POST",
}
_MODEL = re.compile(r"^/v2/models/(?P<name>[^/]+)(?P<verb>/ready|/infer)?$")
_PREFIX, _numbers = secrets.token_hex(5), count()
"""Of the ids of this process; drawing each anew costs a call of the system."""
log = logging.getLogger(__name__)


def request_id_of(request: Request) -> str:
    """The caller's x-request-id where it is printable ASCII of at most 128, else a new one."""
    given = request.headers.get(b"x-request-id")
    if given is not None and REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_PREFIX}{next(_numbers):08x}"


class DataDoor:
    """Answers every request at the data port; its handler never raises but for cancellation. Without a
    `guard` nobody is asked for a key."""

    def __init__(
        self, pool: Pool, encoder: EncoderService, metrics: Metrics, guard: Guard | None = None
    ) -> None:
        self.requests = 0
        """Requests for the pool since the router started; calls from other routers do not count."""
        self._pool = pool
        self._asking = Asking(pool, encoder, metrics)
        self._metrics = metrics
        self._guard = guard

    async def handle(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        start = loop.time()
        metrics = self._metrics
        request_id = request_id_of(request)
        try:
            if self._guard is not None:
                request.holder = self._guard.admit(request.headers, Role.INFER)
            answer = await self._route(request, request_id)
        except FastServeError as error:
            answer = error_answer(refusal_of(error))
        except Exception:
            log.exception("request failed", extra={"requestId": request_id, "path": request.path})
            answer = error_answer(Refusal("Internal", "an error of the router; its log has the details"))
        metrics.requests(str(answer.status), answer.reason).inc()
        seconds = loop.time() - start
        metrics.duration.observe(seconds)
        answer = Answer(
            answer.status, answer.body, answer.headers, answer.content_type, answer.reason, request_id
        )
        if self._pool.audited:
            route = pattern_of(request.path)[0]
            audit.answered(request, answer, route if route in DATA_PATHS else "", seconds)
        return answer

    async def _route(self, request: Request, request_id: str) -> Answer:
        pattern, model = pattern_of(request.path)
        check_method(request, pattern, DATA_PATHS)
        if model is None:
            return await self._plain(pattern, request, request_id)
        if model["verb"] == "/infer":
            return await self._infer(model["name"], request, request_id)
        return self._model_ready(model["name"]) if model["verb"] else self._metadata(model["name"])

    async def _plain(self, path: str, request: Request, request_id: str) -> Answer:
        if path.startswith("/v1/"):
            self.requests += 1
            ask = predicting.read_ask(request, request_id, self._pool)
            run = predicting.predict if path == "/v1/predict" else predicting.explain
            return await run(self._asking, self._pool, ask)
        if path == "/v2":
            return json_answer(ServerMetadata("fastserve", __version__, ("binary_tensor_data",)))
        if path == "/v2/health/live":
            return json_answer({"live": True})
        self._pool.table()
        self._check_ready()
        return json_answer({"ready": True})

    def _check_ready(self) -> None:
        """Raises Refusal where no sub-model can be asked. One that sleeps can be."""
        if not self._pool.ready() and not self._pool.asleep():
            raise Refusal("NoMemberReady", "no sub-model of the pool is ready")

    def _model_ready(self, name: str) -> Answer:
        if name == self._pool.name:
            self._check_ready()
        elif not self._pool.is_ready(self._pool.member(name).name):
            raise Refusal("MemberUnavailable", f"{name} is not ready")
        return json_answer({"name": name, "ready": True})

    def _metadata(self, name: str) -> Answer:
        snapshot = self._pool.table()
        versions: tuple[str, ...] = ()
        if name != self._pool.name:
            versions = (self._pool.member(name).target.version or self._pool.version(name),)
        width = len(self._labels(name)) or -1
        outputs = tuple(
            TensorMetadata(output, "BYTES" if output == "labels" else "FP32", (-1, width))
            for output in snapshot.outputs
        )
        inputs = (TensorMetadata("text", "BYTES", (-1,)),)
        return json_answer(ModelMetadata(name, versions, "fastserve", inputs, outputs))

    def _labels(self, name: str) -> tuple[str, ...]:
        if name != self._pool.name:
            return self._pool.labels(name)
        known = tuple(self._pool.labels(member) for member in self._pool.table().names)
        return union(tuple(labels for labels in known if labels)) if any(known) else ()

    async def _infer(self, name: str, request: Request, request_id: str) -> Answer:
        pool = self._pool
        snapshot = pool.table()
        direct = None if name == pool.name else pool.member(name).name
        batch = read_infer(request.body, request.headers.get(HEADER_LENGTH), snapshot.outputs)
        texts = tuple([check_text(text) for text in batch.texts])
        deadline = predicting.deadline_of(request, None, pool)
        if HOP_HEADER in request.headers:
            caller = caller_on_hop(request.headers, pool.tenant_header, request.holder)
            return await self._hop(MemberCall(name, batch.texts, deadline, request_id, (), caller), batch)
        self.requests += 1
        caller = caller_at_door(request.headers, pool.tenant_header, request.holder)
        if direct is not None:
            call = MemberCall(direct, batch.texts, deadline, request_id, snapshot.outputs, caller)
            return await self._named(call, batch)
        rows = await self._asking.answer(Ask(texts, deadline, request_id, caller))
        return render(self._result(rows), batch, predicting.decision_headers(rows, pool))

    async def _named(self, call: MemberCall, batch: TextBatch) -> Answer:
        """A call for one sub-model by its name."""
        output = await self._asking.direct(call)
        name = self._pool.table().output
        result = Result(call.member, name, output.scores, output.labels, output.version)
        return render(
            result, batch, predicting.direct_headers(self._pool.name, call.member, woken=output.woken)
        )

    async def _hop(self, call: MemberCall, batch: TextBatch) -> Answer:
        """A call that another router chose already: straight to the own Triton, never further."""
        own = self._pool.own
        if own is None or own.member != call.member:
            raise Refusal("MemberUnavailable", f"this router does not serve {call.member}")
        output = await own.infer(call)
        name = self._pool.table().output
        result = Result(call.member, name, output.scores, output.labels, output.version)
        waited = ("x-fastserve-queue-millis", str(round(output.waited * 1000)))
        return render(result, batch, (("x-fastserve-pool", self._pool.name), waited))

    def _result(self, rows: list[RowAnswer]) -> Result:
        """All rows over one set of labels: all that the pool is known to have."""
        labels = rows[0].combined.labels
        if labels:
            answered = tuple(row.combined.labels for row in rows)
            known = tuple(self._pool.labels(member) for member in self._pool.table().names)
            labels = union(tuple(dict.fromkeys(one for one in (*known, *answered) if one)))
        return Result(self._pool.name, self._pool.table().output, _stack(rows, labels), labels)


def _stack(rows: list[RowAnswer], labels: tuple[str, ...]) -> Scores:
    if not labels:
        return np.stack([row.combined.scores for row in rows]).astype(np.float32)
    scores = np.zeros((len(rows), len(labels)), np.float32)
    for i, row in enumerate(rows):
        scores[i, places(row.combined.labels, labels)] = row.combined.scores
    return scores


def pattern_of(path: str) -> tuple[str, re.Match[str] | None]:
    """The pattern that a path is of, where it is one of a model's with its match; else the path itself."""
    model = _MODEL.match(path)
    return (f"/v2/models/{{name}}{model['verb'] or ''}" if model else path), model


def check_method(request: Request, pattern: str, paths: dict[str, str]) -> None:
    """Raises Refusal PathUnknown or MethodNotAllowed, naming what is allowed."""
    allowed = paths.get(pattern)
    if allowed is None:
        raise Refusal("PathUnknown", f"there is no {request.path[:200]!r} (known: {', '.join(paths)})")
    if request.method != allowed and not (request.method == "HEAD" and allowed == "GET"):
        message = f"{request.method} is not allowed for {pattern}; {allowed} is"
        raise Refusal("MethodNotAllowed", message, headers=(("allow", allowed),))
