"""The route table: the one document that travels from who plans to every router of a pool.

On the cluster it is the ConfigMap ``<pool>-p-routes``; locally it is a file. It holds what is wanted,
never what is so, and no addresses of peers.
"""

from typing import Annotated, Literal

from pydantic import Field

from fastserve.api.identity import API_VERSION
from fastserve.api.meta import Document
from fastserve.api.modelpool import Limits, Method, Selection, Task

MAX_TABLE_BYTES = 900 * 1024
"""A ConfigMap holds 1 MiB; the plan refuses a table over this."""


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


class Member(Document):
    """One sub-model of the pool."""

    name: str
    """The SubModel's name."""
    description: str = ""
    """One sentence for people."""
    meaning: Meaning
    """What it is about."""
    target: Target
    """The version that its pods are to load."""
    max_concurrency: Annotated[int, Field(ge=1)] = 64
    """Requests that a router keeps in its Triton at once; more wait in the router's queue."""


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
    members: tuple[Member, ...]
    """Accepted sub-models, by name."""
