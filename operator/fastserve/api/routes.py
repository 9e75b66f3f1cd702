"""The route table: the one document that travels from who plans to every router of a pool.

On the cluster it is the ConfigMap ``<pool>-p-routes``; locally it is a file. It holds what is wanted,
never what is so, and no addresses of peers.
"""

from typing import Annotated, Literal

from pydantic import Field

from fastserve.api.identity import API_VERSION
from fastserve.api.meta import Document, Ratio
from fastserve.api.modelpool import (
    Ejection,
    Hedging,
    Limits,
    Method,
    Retries,
    Selection,
    Task,
    Tenants,
    Tracing,
)
from fastserve.api.scaling import Monitoring, PoolScaling, Staff

MAX_TABLE_BYTES = 900 * 1024
"""A ConfigMap holds 1 MiB; the plan refuses a pool whose specs take more than this."""
MAX_ROLLOUTS_BYTES = 100 * 1024
"""Beside the specs, for all versions that are on their way together."""


class Meaning(Document):
    """What a sub-model is about: example texts, here or in a file."""

    examples: tuple[str, ...] = ()
    """Example texts."""
    storage_uri: str = ""
    """A file with more of them (text lines, or JSON Lines with a field "text")."""
    digest: str
    """Identity of the examples, 64 hex digits; prototypes are kept under it."""


class EngineTarget(Document):
    """Engine settings of a version; the router adds where checkpoint and socket lie."""

    devices: tuple[str, ...]
    """One per rank: cpu, or cuda:I where I counts the visible devices."""
    python: str
    """Interpreter that runs the ranks."""
    allow_cpu: bool = False
    """Serve on the CPU where the devices are not visible."""
    max_tokens: int | None = None
    """Tokens of a text that the model reads."""
    threads_per_rank: Annotated[int, Field(ge=1)] = 1
    """CPU threads of one rank."""


class Target(Document):
    """The version that a member's pods are to load."""

    digest: str
    """Identity of the version: weights, engine settings and layout, 64 hex digits."""
    model_name: str
    """Name in Triton: <submodel>-<digest8>."""
    version: str
    """The user's name for the weights, or their digest."""
    storage_uri: str
    """Where the checkpoint lies."""
    expected_digest: str = ""
    """What must come from there, ``sha256:…``; empty where anything may."""
    max_bytes: int | None = None
    """The most that may be fetched."""
    image: str = ""
    """The image that lies in the pod as a volume, and is read there; empty where the checkpoint does not come
    so."""
    custom: bool = False
    """The checkpoint is a Triton model folder of its user's own: `files` and `engine` are not used but for
    `labels`."""
    labels: tuple[str, ...] = ()
    """Of a custom model that classifies: the names of its scores."""
    files: dict[str, str]
    """Triton's model folder: relative path to text, e.g. config.pbtxt and 1/model.py."""
    engine: EngineTarget
    """Engine settings."""


class Refused(Document):
    """A version that failed; it is tried again only when a newer generation asks for it."""

    digest: str
    """Identity of the version."""
    generation: int
    """Of the SubModel that asked for it."""
    reason: str
    """What failed, as one PascalCase word."""
    message: str = ""
    """What failed, as a sentence for people."""
    time: str
    """When it was refused (RFC 3339)."""


class Rollout(Document):
    """One version on its way to take another one's place. A router that is named loads the candidate
    beside the stable version and gives it `share` of its requests; every other one loads the stable one."""

    candidate: Target
    """The version that is to become the stable one."""
    generation: int
    """Of the SubModel that asked for it."""
    named: tuple[str, ...] = ()
    """Router instances that are to load it, in the order of their naming."""
    share: Ratio = "1"
    """Part of a named router's requests that the candidate answers; at 1 the stable one is unloaded."""
    since: str
    """When it began (RFC 3339)."""
    step: str
    """When `named` or `share` last changed, or a pause ended (RFC 3339)."""
    tried_since: str = ""
    """Since when every named router answers with the candidate (RFC 3339), while `share` is the canary's;
    empty while not all do."""
    trials: int = 0
    """How often that began: where a named router loses the candidate, it begins again."""
    deadline_seconds: int
    """Without a step forward for so long it is refused."""
    recreate: bool = False
    """Leave the pool before loading, even where memory holds both."""
    min_agreement: Ratio = "0"
    """Share of the examples on which it must answer as the stable one; 0: it is not asked."""
    paused: bool = False
    """Load nothing, unload nothing; what takes requests goes on."""


MAX_REMEMBERED = 8
"""Digests that a member remembers as proved, and as refused."""


class Member(Document):
    """One sub-model of the pool."""

    name: str
    """The SubModel's name."""
    description: str = ""
    """One sentence for people."""
    meaning: Meaning
    """What it is about."""
    target: Target
    """The stable version: what its pods are to load, but for those that a rollout names."""
    max_concurrency: Annotated[int, Field(ge=1)] = 64
    """Requests that a router keeps in its Triton at once; more wait in the router's queue."""
    rollout: Rollout | None = None
    """A version on its way to take the stable one's place."""
    proved: Annotated[tuple[str, ...], Field(max_length=MAX_REMEMBERED)] = ()
    """Digests that were stable on every replica once, the newest last."""
    refused: Annotated[tuple[Refused, ...], Field(max_length=MAX_REMEMBERED)] = ()
    """Versions that failed, the newest last."""
    generation: int = 0
    """Of the SubModel that `asked` first stood in; told, like it, only where a version is on its way
    or was refused."""
    asked: str = ""
    """Identity of the SubModel's spec but for its replicas, which machines write as well: a change of them
    is no reason to try a refused version again."""
    staff: Staff | None = None
    """How many replicas it has and may have, where it is scaled."""


class Resilience(Document):
    """What routers do about replicas that do not answer, or not well."""

    retries: Retries = Field(default_factory=Retries)
    hedging: Hedging = Field(default_factory=Hedging)
    ejection: Ejection = Field(default_factory=Ejection)


class TableAccess(Document):
    """Who may know what of the pool's routers."""

    audit: bool = False
    """Whether routers log a line for each answered request."""
    operator_digest: str = ""
    """SHA-256 of the key with which whoever wrote the table reads the routers' state, 64 hex digits; only
    where they ask for keys."""


class RouteTable(Document):
    """What every router of a pool needs to know."""

    api_version: Literal["fastserve.io/v1alpha1"] = API_VERSION
    kind: Literal["RouteTable"] = "RouteTable"
    pool: str
    """The ModelPool's name."""
    generation: int = 0
    """The ModelPool's generation that this table was made for."""
    task: Task
    selection: Selection
    method: Method
    deadline_millis: int
    min_members: int
    limits: Limits
    tenants: Tenants = Field(default_factory=Tenants)
    resilience: Resilience = Field(default_factory=Resilience)
    access: TableAccess = Field(default_factory=TableAccess)
    tracing: Tracing | None = None
    scaling: PoolScaling = Field(default_factory=PoolScaling)
    monitoring: Monitoring = Field(default_factory=Monitoring)
    members: tuple[Member, ...]
    """Accepted sub-models, by name."""
