"""ModelPool: one endpoint in front of many sub-models."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastserve.api.identity import API_VERSION
from fastserve.api.meta import Conditions, Document, LastFailure, Name, ObjectMeta, Ratio
from fastserve.api.pods import ObjectName, PodTemplate, Resources
from fastserve.api.scaling import Monitoring, PoolScaling

HEADER_NAME_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$"
"""A header's name (RFC 9110, a token), or nothing."""
COLLECTOR_PATTERN = r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?$"
"""Without a user, a query or a fragment: a credential would stand in the route table."""
UP_TO_A_FIFTH = r"^0(\.([01][0-9]{0,5}|20{0,5}))?$"
UP_TO_A_TENTH = r"^0(\.(0[0-9]{0,5}|10{0,5}))?$"


class Task(StrEnum):
    TEXT_CLASSIFICATION = "TextClassification"
    EMBEDDING = "Embedding"


class Policy(StrEnum):
    SIMILARITY = "Similarity"
    UNIFORM = "Uniform"
    BEST = "Best"


class Method(StrEnum):
    WEIGHTED_SUM = "WeightedSum"
    LOG_POOL = "LogPool"
    WEIGHTED_MEAN = "WeightedMean"
    VOTE = "Vote"
    BEST = "Best"


LEGAL_METHODS: dict[Task, tuple[Method, ...]] = {
    Task.TEXT_CLASSIFICATION: (Method.WEIGHTED_SUM, Method.LOG_POOL, Method.VOTE, Method.BEST),
    Task.EMBEDDING: (Method.WEIGHTED_MEAN, Method.BEST),
}
"""Which combinations make sense for which answers; the first is the default."""


class Fallback(Document):
    """What answers a request that no sub-model is near to."""

    type: Literal["Reject", "SubModel"] = "Reject"
    """Reject answers 422 with all scores; SubModel asks the one named in subModel."""
    sub_model: Name | None = None
    """Name of the sub-model that answers; only with type SubModel."""

    @model_validator(mode="after")
    def _names_a_sub_model(self) -> "Fallback":
        if (self.type == "SubModel") != (self.sub_model is not None):
            raise ValueError("subModel is required with type SubModel, and only there")
        return self


class Selection(Document):
    """How the sub-models for a request are chosen."""

    top_k: Annotated[int, Field(ge=1, le=16)] = 2
    """How many sub-models may answer one request. A sub-model far behind the nearest is not asked."""
    min_score: Ratio = "0.35"
    """Cosine similarity below which a sub-model is not near enough; decimal between 0 and 1."""
    policy: Policy = Policy.SIMILARITY
    """Similarity chooses and weighs by meaning; Uniform chooses by meaning and weighs all alike;
    Best asks the nearest only."""
    max_tokens: Annotated[int, Field(ge=8, le=256)] = 64
    """Tokens of a text that the encoder reads to choose; the sub-models read the whole text."""
    fallback: Fallback = Field(default_factory=Fallback)
    """What answers when no sub-model reaches minScore."""


class Combination(Document):
    """How the answers of the chosen sub-models become one."""

    method: Method | None = None
    """WeightedSum, LogPool, Vote and Best for TextClassification; WeightedMean and Best for
    Embedding. Default: WeightedSum and WeightedMean."""
    deadline_millis: Annotated[int, Field(ge=1, le=600000)] = 5000
    """Milliseconds within which a request is answered; answers that come later are left out."""
    min_members: Annotated[int, Field(ge=1, le=16)] = 1
    """With fewer answers than this by the deadline the request fails with 504."""


class Limits(Document):
    """Bounds that protect a router."""

    max_queue: Annotated[int, Field(ge=1, le=100000)] = 256
    """Requests that may wait for one sub-model; one more is answered 429."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=104857600)] = 1048576
    """Bytes of a request body; a larger one is answered 413."""
    max_connections: Annotated[int, Field(ge=16, le=1000000)] = 4096
    """Connections that callers may hold to one router; one more is refused."""


class Tenants(Document):
    """Who is who, where callers share a pool: none is served before the others for asking more."""

    header: Annotated[str, Field(max_length=64, pattern=HEADER_NAME_PATTERN)] = ""
    """Name of the request header that tells a tenant from another; empty: all callers are one."""


class Retries(Document):
    """Asking another replica where one did not answer."""

    max_share: Annotated[str, Field(pattern=UP_TO_A_FIFTH, max_length=8)] = "0.2"
    """Retries per call to a sub-model over ten seconds; decimal between 0 and 0.2, 0 for none."""


class Hedging(Document):
    """Asking a second replica where the first one takes longer than 95 of 100 calls do; the first answer
    counts."""

    enabled: bool = False
    """Hedge. Off by default: Triton cannot stop an inference that began, so the slower replica computes its
    answer for nobody."""
    max_share: Annotated[str, Field(pattern=UP_TO_A_TENTH, max_length=8)] = "0.1"
    """Hedged calls per call to a sub-model over ten seconds; decimal between 0 and 0.1."""


class Ejection(Document):
    """Leaving out, for a while, a replica that fails or is much slower than the others."""

    max_share: Ratio = "0.5"
    """Share of a sub-model's replicas that may be left out at once; decimal between 0 and 1, 0 for none."""


class Auth(Document):
    """API keys. Without, whoever reaches the pool may ask it."""

    secret_name: ObjectName
    """Name of a Secret of the pool's namespace. Each entry is a key of at least 16 characters; infer.NAME may
    ask the pool, metrics.NAME may read metrics and state. NAME tells callers apart."""


class Tls(Document):
    """TLS at the pool's door, and between its routers. Without, both speak plain HTTP."""

    secret_name: ObjectName
    """Name of a Secret of type kubernetes.io/tls in the pool's namespace; where it holds ca.crt, routers
    trust that in each other. It is read again when it changes."""
    client_ca_secret_name: ObjectName | None = None
    """Name of a Secret with ca.crt: callers must show a certificate that it signed."""


class Tracing(Document):
    """Where routers send OpenTelemetry spans of the requests."""

    endpoint: Annotated[str, Field(max_length=2048, pattern=COLLECTOR_PATTERN)]
    """Base URL of a collector that takes OTLP over HTTP, for example http://collector.observability:4318;
    /v1/traces is added."""
    sampling_ratio: Ratio = "0.01"
    """Share of the requests without a traceparent that are traced; decimal between 0 and 1. For one that
    comes with a traceparent, its caller decided."""


class Router(Document):
    """The pool's routers."""

    limits: Limits = Field(default_factory=Limits)
    """Bounds that protect a router."""
    tenants: Tenants = Field(default_factory=Tenants)
    """Who is who, where callers share a pool."""
    retries: Retries = Field(default_factory=Retries)
    """Asking another replica where one did not answer."""
    hedging: Hedging = Field(default_factory=Hedging)
    """Asking a second replica where the first one is slow."""
    ejection: Ejection = Field(default_factory=Ejection)
    """Leaving out replicas that fail or are much slower than the others."""
    auth: Auth | None = None
    """API keys."""
    tls: Tls | None = None
    """TLS at the pool's door."""
    audit: bool = False
    """Log one line for each answered request: who, which route, how it ended; never a text."""
    tracing: Tracing | None = None
    """Traces of requests, from the door to Triton. Without, none are made."""
    standby_replicas: Annotated[int, Field(ge=1, le=32)] = 1
    """Routers without a Triton beside them: the pool's door while its sub-models start, sleep or fail.
    Local mode runs one."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of every router of the pool. Local mode leaves this aside."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """What is passed on to the stand-by routers' pods. Local mode leaves this aside."""


class ModelPoolSpec(Document):
    """What the pool is to be."""

    task: Task = Task.TEXT_CLASSIFICATION
    """What members answer: TextClassification or Embedding."""
    selection: Selection = Field(default_factory=Selection)
    """How the sub-models for a request are chosen."""
    combination: Combination = Field(default_factory=Combination)
    """How the answers of the chosen sub-models become one."""
    router: Router = Field(default_factory=Router)
    """The pool's routers."""
    scaling: PoolScaling = Field(default_factory=PoolScaling)
    """What the pool's scaled sub-models share."""
    monitoring: Monitoring = Field(default_factory=Monitoring)
    """Where the pool's routers learn of each other's load."""
    suspend: bool = False
    """Run no pods for this pool and its sub-models; everything else stays."""

    @model_validator(mode="after")
    def _method_fits_task(self) -> "ModelPoolSpec":
        legal = LEGAL_METHODS[self.task]
        if self.combination.method is not None and self.combination.method not in legal:
            raise ValueError(
                f"combination.method {self.combination.method} does not fit task {self.task};"
                f" allowed: {', '.join(legal)}"
            )
        return self

    @model_validator(mode="after")
    def _enough_may_answer(self) -> "ModelPoolSpec":
        if self.combination.min_members > self.selection.top_k:
            raise ValueError(
                f"combination.minMembers {self.combination.min_members} is more than selection.topK"
                f" {self.selection.top_k}: no request could ever be answered"
            )
        return self

    @property
    def method(self) -> Method:
        """The combination method, the task's default where none is written."""
        return self.combination.method or LEGAL_METHODS[self.task][0]


class MemberStatus(Document):
    """One sub-model of the pool, in short; its own status has the whole."""

    name: Name
    """Name of the SubModel."""
    ready: bool = False
    """Whether it answers at its current generation."""
    reason: Annotated[str, Field(max_length=256)] = ""
    """Why it is ready or not, as one PascalCase word."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why, as a sentence for people."""
    version: Annotated[str, Field(max_length=128)] = ""
    """Version of the weights that answers."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that exist."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that answer."""


MemberStatuses = Annotated[
    tuple[MemberStatus, ...],
    Field(
        max_length=1000,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]


class ModelPoolStatus(Document):
    """What is so."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Ready, Available, Progressing, Accepted, MembersReady and RouterReady; Reconciling, Stalled and
    Suspended only while they are so."""
    members: MemberStatuses = ()
    """The sub-models that name this pool."""
    ready_members: Annotated[str, Field(max_length=16)] = ""
    """How many of them answer, for example 3/4."""
    url: Annotated[str, Field(max_length=2048)] = ""
    """Where the pool answers inside the cluster."""
    last_failure: LastFailure | None = None
    """The last failure of the pool's own objects; those of sub-models stand in their status."""


class ModelPool(Document):
    """One endpoint in front of many sub-models; each request goes to those nearest in meaning."""

    api_version: Literal["fastserve.io/v1alpha1"] = API_VERSION
    """fastserve.io/v1alpha1"""
    kind: Literal["ModelPool"] = "ModelPool"
    """ModelPool"""
    metadata: ObjectMeta
    """Name, namespace, labels."""
    spec: ModelPoolSpec = Field(default_factory=ModelPoolSpec)
    """What the pool is to be."""
    status: ModelPoolStatus | None = None
    """What is so; written by FastServe only."""
