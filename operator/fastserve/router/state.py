"""The admin port: liveness, readiness, metrics, and the state document. Reads only."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastserve.api.scaling import HISTORY_SECONDS, TOLD_SECONDS, LoadReport, ScalingState
from fastserve.api.state import ModelState, PeerState, QueueState, RankState, RouterState
from fastserve.errors import FastServeError
from fastserve.router.access import Access
from fastserve.router.answers import Answer, Refusal, error_answer, json_answer, refusal_of
from fastserve.router.doors import DataDoor, check_method
from fastserve.router.keepers import PrototypeKeeper
from fastserve.router.keys import Role
from fastserve.router.metrics import Metrics
from fastserve.router.pool import Pool
from fastserve.router.protocol import HttpServer, Request
from fastserve.router.reviver import Reviver
from fastserve.router.sidecar import Sidecar
from fastserve.router.telling import last_load, versions_of
from fastserve.router.wire import Readiness

ADMIN_PATHS: dict[str, str] = {
    "/livez": "GET",
    "/readyz": "GET",
    "/metrics": "GET",
    "/v1/state": "GET",
    "/v1/load": "GET",
    "/v1/load/history": "GET",
    "/v1/prototypes/{key}": "GET",
}
OPEN_PATHS = frozenset(("/livez", "/readyz"))
"""Need no key: the kubelet has none to show."""
ROUTERS_PATHS = frozenset(("/v1/load", "/v1/load/history"))
"""What the pool's routers ask each other."""
_PROTOTYPES = re.compile(r"^/v1/prototypes/(?P<key>[0-9a-f]{64})$")
CACHE_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdminParts:
    """What the admin port tells of."""

    instance: str
    pool: Pool
    sidecar: Sidecar | None
    metrics: Metrics
    door: DataDoor
    server: HttpServer
    """The data port's."""
    prototypes: PrototypeKeeper
    access: Access
    reviver: Reviver | None = None
    scaling: Callable[[], ScalingState | None] = lambda: None


class AdminDoor:
    """Answers every request at the admin port."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._pool = parts.pool
        self._sidecar = parts.sidecar
        self._metrics = parts.metrics
        self._cached: tuple[float, bytes] = (-CACHE_SECONDS, b"")
        self._paths: dict[str, Callable[[], Awaitable[Answer]]] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._render_metrics,
            "/v1/state": self._state,
            "/v1/load": self._load,
            "/v1/load/history": self._load_history,
        }

    async def handle(self, request: Request) -> Answer:
        path = request.path
        try:
            guard = self._parts.access.guard
            if guard is not None and path in ROUTERS_PATHS:
                guard.admit_router(request.headers)
            elif guard is not None and path not in OPEN_PATHS:
                guard.admit(request.headers, Role.METRICS)
            asked = _PROTOTYPES.match(path)
            known = path if path in self._paths else ""
            check_method(request, "/v1/prototypes/{key}" if asked else known, ADMIN_PATHS)
            return self._file_of(asked["key"]) if asked else await self._paths[path]()
        except FastServeError as error:
            return error_answer(refusal_of(error))
        except Exception:
            log.exception("request failed", extra={"path": path})
            return error_answer(Refusal("Internal", "an error of the router; its log has the details"))

    def readiness(self) -> Readiness:
        """Whether requests should come here, and why."""
        ready, because = self._judge()
        if self._parts.server.draining:
            ready, because = False, "the router drains"
        own = self._pool.own
        if own is None:
            return Readiness(ready, because)
        return Readiness(ready, because, own.member, own.version, own.labels)

    def _judge(self) -> tuple[bool, str]:
        if self._pool.snapshot is None:
            return False, self._pool.table_error
        if self._parts.access.problem:
            return False, self._parts.access.problem
        if self._sidecar is not None and self._pool.own is not None:
            return self._judge_own(self._sidecar)
        if not self._pool.prototypes.names:
            why = next(iter(self._pool.unselectable.values()), "they are being read")
            return False, f"no prototypes: {why}"
        ready, asleep = self._pool.ready(), self._pool.asleep()
        if not ready and not asleep:
            return False, "no sub-model of the pool is ready"
        because = f"{len(ready)} of {len(self._pool.snapshot.names)} sub-models are ready"
        because += f", {len(asleep)} asleep" if asleep else ""
        return True, because + self._missing()

    def _judge_own(self, sidecar: Sidecar) -> tuple[bool, str]:
        own = self._pool.own
        target = sidecar.known.drive.target
        if own is None or own.current is None:
            failure = sidecar.known.book.failure
            why = f"{failure.reason}: {failure.message}" if failure else sidecar.because
            reviver = self._parts.reviver
            return False, f"{why}; {reviver.because}" if reviver is not None and reviver.because else why
        if own.away:
            return False, own.away
        if not own.health.ready:
            return False, f"{own.current.name} does not answer ({own.health.health})"
        if target is not None and own.current.digest != target.digest:
            # The old version keeps answering until the new one has proved itself: no request is lost.
            return True, f"{own.current.name} answers while {target.model_name} is prepared"
        return True, f"{own.current.name} answers" + self._missing()

    def _missing(self) -> str:
        why = self._pool.unselectable
        return "".join(f"; {name} cannot be selected: {text}" for name, text in why.items())

    async def _livez(self) -> Answer:
        return json_answer({"live": True})

    async def _readyz(self) -> Answer:
        readiness = self.readiness()
        answer = json_answer(readiness)
        return answer if readiness.ready else Answer(503, answer.body, (("retry-after", "1"),))

    async def _render_metrics(self) -> Answer:
        own = self._pool.own
        if own is not None:
            self._metrics.healthy(own.member, own.ready)
        return Answer(200, self._metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    def _file_of(self, key: str) -> Answer:
        content = self._parts.prototypes.file_of(key)
        if content is None:
            raise Refusal("PathUnknown", f"no prototypes are in use under the key {key}")
        return Answer(200, content, content_type="application/octet-stream")

    async def _state(self) -> Answer:
        now = asyncio.get_running_loop().time()
        if now - self._cached[0] >= CACHE_SECONDS:
            self._cached = (now, self.state(now).model_dump_json().encode())
        return Answer(200, self._cached[1])

    async def _load(self) -> Answer:
        return Answer(200, self.load().model_dump_json().encode())

    async def _load_history(self) -> Answer:
        return Answer(200, self.load(HISTORY_SECONDS).model_dump_json().encode())

    def load(self, seconds: float = TOLD_SECONDS) -> LoadReport:
        """What this router measured of the pool's load in the last so many seconds."""
        model = self._model()
        return self._pool.meter.report(
            self._parts.instance,
            ready=self.readiness().ready,
            load_seconds=model.load_seconds if model is not None else 0.0,
            seconds=seconds,
        )

    def state(self, now: float) -> RouterState:
        """What this router knows first-hand; the sidecar reads the engine's socket once a second."""
        pool, readiness = self._pool, self.readiness()
        snapshot, counts = pool.snapshot, pool.prototypes.counts()
        return RouterState(
            pool=pool.name,
            instance=self._parts.instance,
            member=pool.own.member if pool.own else None,
            ready=readiness.ready,
            because=readiness.because,
            table_generation=snapshot.table.generation if snapshot else 0,
            table_digest=snapshot.digest if snapshot else "",
            prototypes=counts,
            prototype_keys=self._parts.prototypes.keys,
            requests=self._parts.door.requests,
            triton_live=self._sidecar.known.live if self._sidecar else False,
            triton_restarts=self._parts.reviver.restarts if self._parts.reviver is not None else 0,
            model=self._model(),
            versions=versions_of(self._sidecar, self._pool.own, now) if self._sidecar else (),
            swap=self._sidecar.swap.state if self._sidecar else None,
            queue=self._queue(now),
            peers=self._peers(),
            scaling=self._parts.scaling(),
        )

    def _queue(self, now: float) -> QueueState:
        own = self._pool.own
        if own is None:
            return QueueState()
        waits = own.gate.summary(now)
        return QueueState(
            waiting=own.gate.waiting,
            in_flight=own.gate.in_flight,
            requests=own.requests,
            failures=own.failures,
            wait_p50_seconds=waits.p50,
            wait_p95_seconds=waits.p95,
        )

    def _peers(self) -> tuple[PeerState, ...]:
        return tuple(
            PeerState(member=one.member, address=one.address, health=one.standing, in_flight=one.in_flight)
            for one in self._pool.peers.replicas.values()
        )

    def _model(self) -> ModelState | None:
        """What serves, or else the target; `load` is always the target's."""
        sidecar, own = self._sidecar, self._pool.own
        target = sidecar.known.drive.target if sidecar else None
        if sidecar is None or own is None or target is None:
            return None
        shown, report, reviver = own.current, sidecar.known.report, self._parts.reviver
        ranks = tuple(RankState(**vars(rank)) for rank in report.ranks) if report else ()
        return ModelState(
            name=shown.name if shown else target.model_name,
            digest=shown.digest if shown else target.digest,
            version=shown.version if shown else target.version,
            target_digest=target.digest,
            load=sidecar.known.progress(target),
            load_seconds=last_load(sidecar.known.book.load_seconds.get(target.model_name), report),
            labels=own.labels,
            ranks=ranks,
            restarts=report.restarts if report else 0,
            last_failure=sidecar.known.failure or (reviver.last if reviver is not None else None),
        )
