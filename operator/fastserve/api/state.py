"""``GET /v1/state`` of a router: what is so, as far as this router knows first-hand. No prompt, no secret."""

from typing import Annotated, Literal

from pydantic import Field

from fastserve.api.meta import Document, Failure, LoadProgress
from fastserve.api.scaling import ScalingState

Health = Literal["Healthy", "Suspect", "Ejected", "Probing", "Unknown"]


Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What a status in Kubernetes can hold."""


class RankState(Document):
    """One rank process of this router's own Triton."""

    rank: Count
    pid: int
    device: str
    memory_bytes: Count = 0
    parameter_bytes: Count = 0
    peak_load_bytes: Count = 0


class ModelState(Document):
    """The version in this router's own Triton: the one that answers, or else the one that it is to load."""

    name: str
    """Name in Triton."""
    digest: str
    version: str
    target_digest: str = ""
    """Digest of the version that it is to load, which `load` and `last_failure` are about; empty from routers
    that do not tell."""
    load: LoadProgress
    load_seconds: float = 0.0
    labels: tuple[str, ...] = ()
    ranks: tuple[RankState, ...] = ()
    restarts: int = 0
    """How often the engine started its ranks again after one died."""
    last_failure: Failure | None = None


class VersionState(Document):
    """One version that is in this router's Triton, is on its way there, or failed to come there."""

    digest: str
    version: str
    phase: Literal["Pending", "Fetching", "Loading", "Loaded", "FailedToLoad"]
    generation: Count = 0
    """Of the rollout that it was loaded for, or failed for; 0 of one that was loaded as the stable one."""
    failed_loads: Count = 0
    """Loads for that rollout that failed in a row."""
    active: bool
    """Whether it takes requests now."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of this member's requests here that it takes."""
    requests: Count = 0
    """Since it was loaded."""
    failures: Count = 0
    """Requests that it failed since it was loaded; what the caller did wrong does not count."""
    inference_p50_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Of the last ten minutes, at most 4096 requests."""
    inference_p95_seconds: Annotated[float, Field(ge=0)] = 0.0
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the examples on which it answered as the stable version; none where they were not compared."""
    memory_bytes: Count = 0
    """Of its ranks."""
    last_failure: Failure | None = None


class SwapState(Document):
    """An exchange of versions that is under way in this router."""

    phase: Literal[
        "Fetching",
        "Admitting",
        "Leaving",
        "Loading",
        "Warming",
        "Comparing",
        "Canary",
        "Draining",
        "Unloading",
        "Verifying",
        "Returning",
    ]
    since: str
    """Since when it is in this phase (RFC 3339)."""
    because: str
    """What it does and why, as a sentence."""


class QueueState(Document):
    """Waiting at this router's own Triton over the last minute. Seconds."""

    waiting: int = 0
    in_flight: int = 0
    requests: int = 0
    """Requests for this member since the router started."""
    failures: int = 0
    wait_p50_seconds: float = 0.0
    wait_p95_seconds: float = 0.0


class PeerState(Document):
    """Another router, as this one sees it."""

    member: str
    address: str
    health: Health = "Unknown"
    in_flight: int = 0


class RouterState(Document):
    """What one router knows."""

    pool: str
    instance: str
    """Identity of the router: the pod's uid, or its name in local mode."""
    member: str | None = None
    """The sub-model whose Triton stands beside this router; none for a stand-by router."""
    ready: bool
    because: str
    """Why it is ready or not, as a sentence."""
    table_generation: int = 0
    table_digest: str = ""
    prototypes: dict[str, int] = Field(default_factory=dict)
    """Prototypes in use, by sub-model."""
    prototype_keys: dict[str, str] = Field(default_factory=dict)
    """Key under which each sub-model's prototypes are kept: GET /v1/prototypes/<key> reads them (.npy,
    fp16 [n, d])."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Requests at the pool's door since the router started."""
    triton_live: bool = False
    triton_restarts: Count = 0
    """How often this router had its Triton started anew, because it or its engine was frozen."""
    model: ModelState | None = None
    """The version that this router is driving at: the candidate where it is named and did not fail here, else
    the stable one."""
    versions: tuple[VersionState, ...] = ()
    """Every version that is in Triton or failed here."""
    swap: SwapState | None = None
    """An exchange of versions that is under way."""
    queue: QueueState = Field(default_factory=QueueState)
    peers: tuple[PeerState, ...] = ()
    scaling: ScalingState | None = None
    """What it does about scaling; none where the pool scales nothing."""
