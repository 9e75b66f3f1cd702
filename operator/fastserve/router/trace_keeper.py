"""Tracing as the route table wants it: on, off, elsewhere; and the step around each request."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from fastserve.api.modelpool import Tracing
from fastserve.router.answers import Answer
from fastserve.router.caller import HOP_HEADER
from fastserve.router.doors import DATA_PATHS, pattern_of
from fastserve.router.holding import Request
from fastserve.router.metrics import Metrics
from fastserve.router.protocol import Handler
from fastserve.router.settings import RouterSettings
from fastserve.router.tracing import Step

if TYPE_CHECKING:
    from fastserve.router.spans import Spans

LAST_SECONDS = 2.0
"""In which a router that ends sends its last spans."""
log = logging.getLogger(__name__)
_TEXTS = {"x-fastserve-decision": "fastserve.decision"}
_NUMBERS = {
    "x-fastserve-confidence": "fastserve.confidence",
    "x-fastserve-coverage": "fastserve.coverage",
}


class TraceKeeper:
    """Traces the requests of one port where it is wanted. `handle` takes the place of `handler`."""

    def __init__(self, settings: RouterSettings, metrics: Metrics, handler: Handler) -> None:
        self.spans: Spans | None = None
        self._settings = settings
        self._metrics = metrics
        self._handler = handler
        self._wanted: Tracing | None = None
        self._changed = asyncio.Event()

    def take(self, wanted: Tracing | None) -> None:
        """What the route table says now."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def run(self) -> None:
        """Follow what is wanted, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted, former = self._wanted, self.spans
            self.spans = await self._open(wanted) if wanted is not None else None
            if former is not None:
                former.close()
            log.info("tracing changed", extra={"endpoint": wanted.endpoint if wanted else ""})

    def handle(self, request: Request) -> Awaitable[Answer]:
        """Answer a request, and trace it."""
        spans = self.spans
        return self._handler(request) if spans is None else self._traced(request, spans)

    async def close(self) -> None:
        """Send the last spans, where the collector takes them in time."""
        if self.spans is None:
            return
        loop = asyncio.get_running_loop()
        thread, until = self.spans.close(), loop.time() + LAST_SECONDS
        self.spans = None
        while thread.is_alive() and loop.time() < until:  # noqa: ASYNC110  a thread sets no asyncio.Event
            await asyncio.sleep(0.01)

    async def _open(self, wanted: Tracing) -> "Spans":
        """In a thread: the libraries take a quarter of a second to load."""
        settings, counts = self._settings, self._metrics.spans

        def opened() -> "Spans":
            from fastserve.router.spans import Origin, Spans  # noqa: PLC0415  not loaded where it is off

            namespace = settings.cluster.namespace if settings.cluster else ""
            scheme = "https" if settings.tls_path else "http"
            origin = Origin(settings.pool, settings.instance, settings.member or "", namespace, scheme)
            return Spans(origin, wanted.endpoint, float(wanted.sampling_ratio), counts)

        return await asyncio.to_thread(opened)

    async def _traced(self, request: Request, spans: "Spans") -> Answer:
        pattern, model = pattern_of(request.path)
        route = pattern if pattern in DATA_PATHS else ""
        with spans.request(request.method, route, request.headers) as step:
            answer = await self._handler(request)
            if step.recording:
                # The name of a model that there is not may be anything.
                known = model is not None and answer.status not in (401, 403, 404)
                _note(step, answer, model["name"] if model and known else "")
                if HOP_HEADER in request.headers:
                    step.note("fastserve.hop", value=True)
        return answer


def _note(step: Step, answer: Answer, model: str) -> None:
    step.answered(answer.status, answer.reason)
    step.note("fastserve.request.id", answer.request_id)
    if model:
        step.note("gen_ai.request.model", model)
    for name, value in answer.headers:
        if name in _TEXTS:
            step.note(_TEXTS[name], value)
        elif name in _NUMBERS:
            step.note(_NUMBERS[name], float(value))
        elif name == "x-fastserve-submodels":
            step.note("fastserve.submodels", value.split(","))
