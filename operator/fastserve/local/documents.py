"""The two files of a running `fastserve up`: what to start (`launch.json`) and what runs (`session.json`)."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from fastserve.api.meta import Document

CRASHES = 4
"""Quick deaths in a row after which nobody waits for a process any more; it is still started again."""


class ProcessKind(StrEnum):
    TRITON = "Triton"
    ROUTER = "Router"
    DOOR = "Door"


class ProcessSpec(Document):
    """One process to keep running."""

    name: str
    kind: ProcessKind
    arguments: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict)
    """Added to the environment of whoever starts it."""
    log: Path
    shm_prefix: str = ""
    """Shared-memory regions that a killed Triton leaves behind; removed when it ends."""


class RouterPlace(Document):
    """A router and where it listens."""

    instance: str
    member: str | None = None
    """The sub-model beside which it stands; none for the pool's door."""
    data: str
    """host:port of the data port."""
    admin: str
    """host:port of the admin port."""


class RejectedMember(Document):
    """A sub-model that is not served, and why."""

    name: str
    reason: str
    message: str


class PoolPlace(Document):
    """One pool of the session."""

    name: str
    routers: tuple[RouterPlace, ...]
    rejected: tuple[RejectedMember, ...] = ()

    @property
    def door(self) -> RouterPlace:
        """The stand-by router that users talk to."""
        return next(router for router in self.routers if router.member is None)

    @property
    def url(self) -> str:
        return f"http://{self.door.data}"


class Launch(Document):
    """Everything to start, in order."""

    pools: tuple[PoolPlace, ...]
    processes: tuple[ProcessSpec, ...]


class RunningProcess(Document):
    """A process as the supervisor sees it."""

    name: str
    kind: ProcessKind
    pid: int | None = None
    starts: int = 0
    last_exit: str = ""
    """How it last ended, e.g. "signal SIGKILL"."""
    quick_deaths: int = 0
    """Ends in a row, each soon after its start."""

    @property
    def crashing(self) -> str:
        """That it does not come up, in words, with where to look; empty where it does."""
        if self.quick_deaths < CRASHES:
            return ""
        times = f"{self.quick_deaths} times in a row soon after its start ({self.last_exit})"
        return f"{self.name} ended {times}; see `fastserve logs {self.name}`"


class Session(Document):
    """What runs. Written by the supervisor only."""

    pid: int
    created: float
    """When the supervisor's process began (seconds since the epoch), so that a reused pid is told apart."""
    pools: tuple[PoolPlace, ...]
    processes: tuple[RunningProcess, ...]
