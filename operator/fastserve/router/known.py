"""What a sidecar works with, and what it knows; the parts of a sidecar share it."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastserve.api.engine import EngineReport
from fastserve.api.meta import Failure, LoadProgress
from fastserve.api.routes import Member, Target
from fastserve.router.bookkeeping import Bookkeeping, Phase
from fastserve.router.fetch_child import FetchChild
from fastserve.router.metrics import Metrics
from fastserve.router.model_files import ModelPlaces
from fastserve.router.mounted_check import MountedCheck
from fastserve.router.rendering import socket_name
from fastserve.router.serving import OwnReplica
from fastserve.router.table import TableSnapshot
from fastserve.router.triton import TritonControl
from fastserve.router.versions.driving import Course, Drive


@dataclass(frozen=True)
class SidecarParts:
    """What a sidecar works with."""

    member: str
    repository: Path
    places: ModelPlaces
    instance: str
    """This router, as a rollout names it."""
    drain_seconds: float
    """How long requests may take to end where this router leaves the pool to make room."""
    control: TritonControl
    replica: OwnReplica
    metrics: Metrics
    snapshot: Callable[[], TableSnapshot | None]
    on_restart: Callable[[float], None]
    """Called before a Triton that holds nothing is given something, with `Known.away_at`."""


@dataclass
class Known:
    """`live` is whether Triton answered the last look, `report` what the target's engine said then."""

    parts: SidecarParts
    course: Course
    book: Bookkeeping = field(default_factory=Bookkeeping)
    drive: Drive = field(default_factory=lambda: Drive(None))
    live: bool = False
    away_at: float = -math.inf
    """When a look found no Triton last, in seconds of the loop's clock."""
    report: EngineReport | None = None
    load: tuple[str, asyncio.Task[None]] | None = None
    """What is being loaded, by its name in Triton."""
    proofs: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """What is asked whether it answers, by its name in Triton."""
    fetch: tuple[FetchChild | MountedCheck, asyncio.Task[None]] | None = None

    @property
    def loading(self) -> str | None:
        """Name in Triton of the version that is being loaded now."""
        return self.load[0] if self.load else None

    @property
    def member(self) -> Member | None:
        snapshot = self.parts.snapshot()
        return snapshot.members.get(self.parts.member) if snapshot else None

    def socket_of(self, target: Target) -> Path:
        return self.parts.places.run / socket_name(target)

    @property
    def failure(self) -> Failure | None:
        """The last failure, with the line that matters; none of a target that was just exchanged."""
        target = self.drive.target
        return self.book.last_failure(self.report) if self.book.is_about(target) else None

    def progress(self, target: Target) -> LoadProgress:
        """How far the target is."""
        report, child = self.report, self.fetch[0] if self.fetch else None
        done, total = (report.bytes_done, report.bytes_total) if report else (0, 0)
        if child is not None:
            done, total = child.bytes_done, child.bytes_total
        doing: Phase = "Loading" if self._is_coming(target.model_name) else "Pending"
        if child is not None:
            doing = child.phase
        fetched = done if child is not None else 0
        return LoadProgress(phase=self.book.phase(target, doing, fetched), bytes_done=done, bytes_total=total)

    def _is_coming(self, name: str) -> bool:
        return self.loading == name or name in self.proofs
