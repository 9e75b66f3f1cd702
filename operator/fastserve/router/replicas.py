"""Whom a sub-model's texts can be given to: this router's own Triton, or a peer router of that sub-model."""

import asyncio
from dataclasses import replace
from typing import Protocol

import msgspec
import numpy as np

from fastserve.api.state import Health
from fastserve.errors import (
    BackendAway,
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
)
from fastserve.foreign_json import ForeignReader, Unreadable
from fastserve.router.answers import ASKED_AGAIN
from fastserve.router.caller import Caller, hop_lines
from fastserve.router.certificates import PeerTls
from fastserve.router.health import PEER_PACE, Event, HealthState, probe_due, probing, spread, step
from fastserve.router.oip import HEADER_LENGTH, MAX_DIGITS, Scores, infer_body, read_answer
from fastserve.router.outliers import Conduct
from fastserve.router.retrying import Fate
from fastserve.router.tracing import current
from fastserve.router.upstream import Reply, Upstream
from fastserve.router.wire import Readiness

PROBE_SECONDS = 1.0
QUEUE_HEADER = b"x-fastserve-queue-millis"
LAG_SECONDS = 0.25
FULL = ("BodiesTooMany", "ConnectionsTooMany")
"""What a peer that is there, and has no room before its gate, answers with 503."""
_draw = np.random.default_rng()
_readiness = ForeignReader(Readiness)
_errors = ForeignReader(dict[str, object])


class MemberCall(msgspec.Struct, frozen=True):
    """Texts for one sub-model. `deadline` is in the loop's time."""

    member: str
    texts: tuple[bytes, ...]
    deadline: float
    request_id: str
    outputs: tuple[str, ...]
    caller: Caller
    fate: Fate = msgspec.field(default_factory=Fate)
    """All calls for one request share it."""


class MemberOutput(msgspec.Struct, frozen=True, eq=False):
    """Scores, float32 [n, L]; `labels` has L names, or none for embeddings."""

    labels: tuple[str, ...]
    scores: Scores
    version: str
    waited: float = 0.0
    """Seconds that the member's own router let it wait; told to other routers."""
    woken: bool = False
    """Whether the request waited at this door until the sub-model was awake."""


class Replica(Protocol):
    """One place that serves a sub-model."""

    conduct: Conduct
    instance: str

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


class PeerReplica:
    """A peer router, as this one sees it. Its data port speaks TLS where there is `tls`."""

    def __init__(
        self, instance: str, member: str, address: str, admin: str, *, tls: PeerTls | None = None
    ) -> None:
        self.instance = instance
        self.member = member
        self.address = address
        self.admin = admin
        self.health = HealthState()
        self.conduct = Conduct()
        self.in_flight = 0
        self.most_in_flight = 4096
        self.labels: tuple[str, ...] = ()
        self.version = ""
        self._base = f"{'https' if tls else 'http'}://{address}"
        self._path = f"/v2/models/{member}/infer"
        self._hint: bool | None = None
        self._answered_at = 0.0
        self._upstream = Upstream(address, tls)
        self._admin = Upstream(admin)

    @property
    def ready(self) -> bool:
        return self.health.ready

    @property
    def standing(self) -> Health:
        """Its health, and whether it is left out for how it answered."""
        if not self.health.ready or self.conduct.ejected is None:
            return self.health.health
        return "Probing" if self.conduct.on_trial else "Ejected"

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
            with current().call(self._base, self._path, self.member) as step:
                reply = await self._upstream.post(self._path, headers + step.lines, body, seconds)
                step.answered(reply.status)
                output = _output(reply, len(call.texts))
        except BackendUnavailable:
            self._note(Event.UNREACHABLE, loop.time())
            raise
        except BackendTimeout:
            self._note(Event.LATE, loop.time())
            raise
        finally:
            self.in_flight -= 1
        # One that was ejected meanwhile comes back by a probe only.
        self._answered_at = loop.time()
        self.labels = output.labels or self.labels
        return output

    def probe_due(self, now: float) -> bool:
        return probe_due(self.health, now)

    async def probe(self) -> None:
        """Ask the peer whether it is ready."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.health = probing(self.health)
        try:
            reply = await self._admin.get("/readyz", PROBE_SECONDS)
            readiness = _readiness.read(reply.body)
        except BackendTimeout:
            self._unanswered(start, loop.time())
            return
        except (BackendUnavailable, Unreadable):
            self._note(Event.UNREACHABLE, loop.time())
            return
        if readiness.ready:
            self.labels = readiness.labels or self.labels
            if self.version and readiness.version != self.version:
                self.conduct = Conduct()  # what was learned is of the version before
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

    def _unanswered(self, start: float, now: float) -> None:
        """No answer to a probe that began at `start`."""
        if self._answered_at > start:
            # It answers requests: busy, and not frozen.
            self.health = replace(self.health, probe_at=now + PEER_PACE.idle)
            return
        if now - start > PROBE_SECONDS + LAG_SECONDS:
            # Our own clock stood still, so that its answer may lie here unread.
            self.health = replace(self.health, probe_at=now)
            return
        self._note(Event.SILENT, now)
        self._upstream.break_off(f"{self.instance} does not answer any more")

    def _note(self, event: Event, now: float) -> None:
        self.health = spread(step(self.health, event, now, PEER_PACE), now, _draw.random())


def _output(reply: Reply, rows: int) -> MemberOutput:
    if reply.status != 200:
        raise _peer_error(reply)
    result = read_answer(reply.body, reply.headers.get(HEADER_LENGTH))
    if len(result.scores) != rows:
        raise BackendError(f"the peer answered {len(result.scores)} rows for {rows} texts")
    return MemberOutput(result.labels, result.scores, result.version, _waited(reply))


def _waited(reply: Reply) -> float:
    """Seconds in the member's queue, as its router tells."""
    told = reply.headers.get(QUEUE_HEADER, b"")
    return int(told) / 1000.0 if told.isdigit() and len(told) <= MAX_DIGITS else 0.0


def _peer_error(reply: Reply) -> BackendError:
    try:
        document = _errors.read(reply.body)
    except Unreadable:
        document = {"error": reply.body[:200].decode("latin-1")}
    text = str(document.get("error"))
    if document.get("reason") == "MembersFailed":
        return BackendError(text)
    if document.get("reason") == "MemberLost":
        return BackendLost(text, again=document.get(ASKED_AGAIN) is True)
    if document.get("reason") == "MemberUnavailable":
        return BackendAway(text)
    if reply.status == 429 or document.get("reason") in FULL:
        told = reply.headers.get(b"retry-after", b"")
        return BackendOverloaded(text, float(told) if told.isdigit() and len(told) <= MAX_DIGITS else 1.0)
    kinds = {503: BackendUnavailable, 404: BackendUnavailable, 504: BackendTimeout}
    return kinds.get(reply.status, BackendError)(text)
