"""Whom a sub-model's texts can be given to: this router's own Triton, or a peer router of that sub-model."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import msgspec
import numpy as np

from fastserve.errors import BackendError, BackendOverloaded, BackendTimeout, BackendUnavailable
from fastserve.router.caller import Caller, hop_lines
from fastserve.router.health import Event, HealthState, probe_due, probing, step
from fastserve.router.oip import HEADER_LENGTH, Scores, infer_body, read_answer
from fastserve.router.upstream import Reply, Upstream
from fastserve.router.wire import Readiness

PROBE_SECONDS = 1.0
_draw = np.random.default_rng()
_readiness = msgspec.json.Decoder(Readiness)
_errors = msgspec.json.Decoder(dict[str, object])


class MemberCall(msgspec.Struct, frozen=True):
    """Texts for one sub-model. `deadline` is in the loop's time."""

    member: str
    texts: tuple[bytes, ...]
    deadline: float
    request_id: str
    outputs: tuple[str, ...]
    caller: Caller


class MemberOutput(msgspec.Struct, frozen=True, eq=False):
    """Scores, float32 [n, L]; `labels` has L names, or none for embeddings."""

    labels: tuple[str, ...]
    scores: Scores
    version: str
    waited: float = 0.0
    """Seconds that the member's own router let it wait; told to other routers."""


class Replica(Protocol):
    """One place that serves a sub-model."""

    @property
    def ready(self) -> bool: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def version(self) -> str: ...

    async def infer(self, call: MemberCall) -> MemberOutput:
        """Raises BackendError and its children, at the call's deadline at the latest."""
        ...


def pick(replicas: Sequence[Replica]) -> Replica | None:
    """Power of two choices (Mitzenmacher, 2001): of two ready ones drawn at random the less busy one."""
    ready = [one for one in replicas if one.ready]
    if len(ready) <= 1:
        return ready[0] if ready else None
    if len(ready) == 2:
        first, second = ready
    else:
        first, second = (ready[i] for i in _draw.choice(len(ready), 2, replace=False).tolist())
    if first.in_flight == second.in_flight:
        return first if _draw.random() < 0.5 else second
    return min(first, second, key=lambda one: one.in_flight)


class PeerReplica:
    """A peer router, as this one sees it."""

    def __init__(self, instance: str, member: str, address: str, admin: str) -> None:
        self.instance = instance
        self.member = member
        self.address = address
        self.admin = admin
        self.health = HealthState()
        self.in_flight = 0
        self.most_in_flight = 4096
        self.labels: tuple[str, ...] = ()
        self.version = ""
        self._hint: bool | None = None
        self._upstream = Upstream(address)
        self._admin = Upstream(admin)

    @property
    def ready(self) -> bool:
        return self.health.ready

    async def infer(self, call: MemberCall) -> MemberOutput:
        """One marked call: the peer gives it straight to its own Triton."""
        if self.in_flight >= self.most_in_flight:
            raise BackendOverloaded(f"{self.in_flight} calls to {self.instance} are under way")
        loop = asyncio.get_running_loop()
        seconds = call.deadline - loop.time()
        lines, body = infer_body(call.texts, (len(call.texts),), call.outputs)
        headers = b"%b%bx-fastserve-hop: 1\r\nx-request-id: %b\r\nx-fastserve-deadline-millis: %d\r\n" % (
            lines,
            hop_lines(call.caller),
            call.request_id.encode("latin-1"),
            max(1, int(seconds * 1000)),
        )
        self.in_flight += 1
        try:
            reply = await self._upstream.post(f"/v2/models/{self.member}/infer", headers, body, seconds)
            output = _output(reply, len(call.texts))
        except BackendError as error:
            self._note(_event_of(error), loop.time())
            raise
        finally:
            self.in_flight -= 1
        if self.health.ready and self.health.failures:
            # One that was ejected meanwhile comes back by a probe only.
            self._note(Event.ANSWERED, loop.time())
        self.labels = output.labels or self.labels
        return output

    async def probe_when_due(self) -> None:
        """Ask the peer whether it is ready, where it is time to."""
        loop = asyncio.get_running_loop()
        if not probe_due(self.health, loop.time()):
            return
        self.health = probing(self.health)
        try:
            reply = await self._admin.get("/readyz", PROBE_SECONDS)
            readiness = _readiness.decode(reply.body)
        except (BackendUnavailable, BackendTimeout, msgspec.DecodeError):
            self._note(Event.UNREACHABLE, loop.time())
            return
        if readiness.ready:
            self.labels = readiness.labels or self.labels
            self.version = readiness.version
        # A peer that says that it is not ready knows better than our count of failures.
        self._note(Event.ANSWERED if readiness.ready else Event.UNREACHABLE, loop.time())

    def hint(self, ready: bool | None) -> None:
        """Somebody changed their mind about this peer: look at once."""
        if ready != self._hint:
            self._hint, self.health = ready, replace(self.health, probe_at=0.0)

    def close(self) -> None:
        self._upstream.close()
        self._admin.close()

    def _note(self, event: Event, now: float) -> None:
        self.health = step(self.health, event, now)
        if event is Event.ANSWERED:
            self.health = HealthState(self.health.health, 0, now + PROBE_SECONDS)


def _event_of(error: BackendError) -> Event:
    if isinstance(error, BackendUnavailable):
        return Event.UNREACHABLE
    if isinstance(error, (BackendTimeout, BackendOverloaded)):
        return Event.LATE
    return Event.FAILED


def _output(reply: Reply, rows: int) -> MemberOutput:
    if reply.status != 200:
        raise _peer_error(reply)
    result = read_answer(reply.body, reply.headers.get(HEADER_LENGTH))
    if len(result.scores) != rows:
        raise BackendError(f"the peer answered {len(result.scores)} rows for {rows} texts")
    return MemberOutput(result.labels, result.scores, result.version)


def _peer_error(reply: Reply) -> BackendError:
    try:
        document = _errors.decode(reply.body)
    except msgspec.DecodeError:
        document = {"error": reply.body[:200].decode("latin-1")}
    text = str(document.get("error"))
    if document.get("reason") == "MembersFailed":
        return BackendError(text)
    kinds = {429: BackendOverloaded, 503: BackendUnavailable, 404: BackendUnavailable, 504: BackendTimeout}
    return kinds.get(reply.status, BackendError)(text)
