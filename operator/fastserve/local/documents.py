"""The files of a running `fastserve up`: what to start (`launch.json`) and what runs (`session.json`); and of
each pool what is wanted (`wanted.json`) and how its versions are exchanged (`exchanges.json`)."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from fastserve.api.meta import Document
from fastserve.api.routes import RouteTable
from fastserve.api.versions import RolloutPolicy

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


class AccessFolders(Document):
    """Where the files of the Secrets lie that a pool's routers read; nothing where the pool names none."""

    keys: Path | None = None
    certificate: Path | None = None
    client_ca: Path | None = None


class WantedPool(Document):
    """What the files ask of one pool. Written by `up` and `apply`, read by the session's process."""

    table: RouteTable
    """With the wanted versions as targets."""
    policies: dict[str, RolloutPolicy]
    """How versions are exchanged, by sub-model."""
    shape: dict[str, tuple[str, ...]]
    """Instances, and the GPUs of each: what processes are made from."""
    access: AccessFolders = Field(default_factory=AccessFolders)
    """Keys and certificates, of which routers hear at their start."""

    def replicas(self, sub_model: str) -> int:
        return sum(instance.rpartition("-")[0] == sub_model for instance in self.shape)


class ExchangeNote(Document):
    """How one sub-model stands between its versions."""

    phase: str
    """Rest, HotSwap, Canary, Returning, Paused or Refused."""
    because: str


class Exchanges(Document):
    """What the session's process decided last, by sub-model."""

    members: dict[str, ExchangeNote] = Field(default_factory=dict)


class PoolPlace(Document):
    """One pool of the session."""

    name: str
    folder: Path = Path()
    """Where its route table and the files beside it lie."""
    routers: tuple[RouterPlace, ...]
    rejected: tuple[RejectedMember, ...] = ()
    scheme: str = "http"
    """What its data ports speak: http or https."""

    @property
    def door(self) -> RouterPlace:
        """The stand-by router that users talk to."""
        return next(router for router in self.routers if router.member is None)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.door.data}"


class Launch(Document):
    """Everything to start, in order."""

    pools: tuple[PoolPlace, ...]
    processes: tuple[ProcessSpec, ...]
    engine_python: str = ""
    """Interpreter of the ranks."""
    stub_paths: tuple[str, ...] = ()
    """First on sys.path in Triton's Python stub."""


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
