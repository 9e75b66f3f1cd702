"""The files of a running `fastserve up`: what to start (`launch.json`) and what runs (`session.json`); and of
each pool what is wanted (`wanted.json`), how its versions are exchanged (`exchanges.json`) and how many
replicas are to run (`scale.json`)."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from fastserve.api.meta import Document
from fastserve.api.routes import Member, RouteTable
from fastserve.api.scaling import Replicas, Staff
from fastserve.api.versions import RolloutPolicy
from fastserve.local.ground import Ground

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
    """Instances, and the GPUs of each: what processes are made from. Those of scaled sub-models come and go,
    and are not among them."""
    estimated_bytes: dict[str, int] = Field(default_factory=dict)
    """Memory that one replica may take before any was seen, by scaled sub-model."""
    access: AccessFolders = Field(default_factory=AccessFolders)
    """Keys and certificates, of which routers hear at their start."""

    @property
    def scaled(self) -> tuple[tuple[Member, Staff], ...]:
        """Sub-models whose replicas come and go."""
        return tuple((member, member.staff) for member in self.table.members if member.staff is not None)


class ExchangeNote(Document):
    """How one sub-model stands between its versions."""

    phase: str
    """Rest, HotSwap, Canary, Returning, Paused or Refused."""
    because: str


class Exchanges(Document):
    """What the session's process decided last, by sub-model."""

    members: dict[str, ExchangeNote] = Field(default_factory=dict)


class ScaleFile(Document):
    """How many replicas are to run. Written by the pool's stand-by router, or by somebody else where it only
    tells what it would want."""

    replicas: dict[str, Replicas] = Field(default_factory=dict)
    """By sub-model; nothing changes for who is not among them."""


class ReplicaCount(Document):
    """How many replicas of a scaled sub-model are to run."""

    replicas: int
    said: int = 0
    """By who scales, or by the YAML; `replicas` are within the bounds."""
    unplaced: int = 0
    """Of these, so many do not fit."""
    because: str = ""
    """Why not."""


class PoolPlace(Document):
    """One pool of the session."""

    name: str
    folder: Path = Path()
    """Where its route table and the files beside it lie."""
    routers: tuple[RouterPlace, ...]
    rejected: tuple[RejectedMember, ...] = ()
    scheme: str = "http"
    """What its data ports speak: http or https."""
    counts: dict[str, ReplicaCount] = Field(default_factory=dict)
    """By scaled sub-model."""

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
    ground: Ground | None = None
    """What more processes are made of."""
    ports: tuple[int, ...] = ()
    """Allotted to these, whether they listen just now or not."""


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
