"""What the engine's own socket tells: that its ranks were started again, and that it is gone or frozen while
Triton goes on calling its model READY."""

from dataclasses import dataclass

from fastserve.api.engine import EngineReport
from fastserve.router import loading
from fastserve.router.bookkeeping import Bookkeeping
from fastserve.router.engine_socket import READ_SECONDS
from fastserve.router.health import Event
from fastserve.router.metrics import Metrics
from fastserve.router.serving import OwnReplica

VOUCHED_SECONDS = 3.0
"""Looks are a second apart, and may take one."""


@dataclass(frozen=True, slots=True)
class EngineLook:
    """One look at a version's engine, at `now` (the loop's time) and begun at `begun`. `loaded` is whether
    Triton calls the model READY and nothing is being loaded; `gone` that nobody listens at the socket."""

    model: str
    custom: bool
    loaded: bool
    report: EngineReport | None
    gone: bool
    begun: float
    now: float


class EngineWatch:
    """Compares each look with the one before; keeps `book.dead_since` and tells the replica."""

    def __init__(self, book: Bookkeeping, replica: OwnReplica, metrics: Metrics) -> None:
        self._book = book
        self._replica = replica
        self._metrics = metrics
        self._silent_since: float | None = None
        self.patience = loading.SILENT_SECONDS

    def take(self, look: EngineLook) -> None:
        """What follows from this look."""
        self._count_restarts(look)
        silent = look.report is None and look.loaded
        if look.loaded and look.model in self._replica.dead:
            self.patience, self._book.dead_since = 0.0, look.now
            return
        if look.custom:
            # A model of the user's own has no socket: that it answered before and does not now must tell.
            self.patience = loading.CUSTOM_SILENT_SECONDS
            failing = not self._replica.ready and look.model in self._book.proved
            self._book.dead_since = (self._book.dead_since or look.now) if silent and failing else None
            return
        self.patience = loading.GONE_SECONDS if look.gone else loading.SILENT_SECONDS
        self._silent_since = (self._silent_since or look.begun) if silent else None
        current = self._replica.current
        if look.report is not None and current is not None and current.name == look.model:
            self._replica.vouched_until = look.now + VOUCHED_SECONDS
        if self._silent_since is not None and self._serves(look):
            self._doubt(look, look.now - self._silent_since)
        failing = look.model not in self._book.proved or not self._replica.ready
        self._book.dead_since = self._silent_since if failing else None

    def _serves(self, look: EngineLook) -> bool:
        current = self._replica.current
        return current is not None and current.name == look.model and self._replica.ready

    def _doubt(self, look: EngineLook, seconds: float) -> None:
        """The engine of what serves is silent: it is dead where nobody listens any more, and frozen where
        requests wait for as long as it does not answer."""
        waiting = self._replica.silence(look.now)
        if look.gone:
            self._replica.give_up("nobody listens at its engine's socket")
        elif waiting >= loading.SILENT_SECONDS and seconds >= READ_SECONDS:
            self._replica.give_up(f"its engine has answered nothing for {seconds:.1f} s")

    def _count_restarts(self, look: EngineLook) -> None:
        if look.report is None:
            return
        restarts, replica = self._book.restarts, self._replica
        before = restarts.get(look.model, 0)
        restarts[look.model] = look.report.restarts
        if look.report.restarts > before:
            self._metrics.restarts.inc(look.report.restarts - before)
            if replica.current is not None and replica.current.name == look.model:
                replica.note(Event.UNREACHABLE)
