"""``spec.autoscaling`` of a sub-model and ``spec.scaling`` of a pool: how many replicas there are to be, by
how long requests wait; and what the route table and the routers say of it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastserve.api.meta import Document, Ratio

Replicas = Annotated[int, Field(ge=0, le=1000)]
HISTORY_SECONDS = 600
"""What is remembered of the past; nothing may look further back."""
TOLD_SECONDS = 30
"""A report is of so much of the past; only of its own load a router tells the whole history."""
MAX_DELAY_SECONDS = 540
"""Less than what is remembered, so that a new holder of the Lease sees all that the old one saw."""
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
ZONE_PATTERN = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"
PROMETHEUS_PATTERN = r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?$"


class ScalingMode(StrEnum):
    BUILTIN = "Builtin"
    EXTERNAL = "External"


class Day(StrEnum):
    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


class WarmWindow(Document):
    """Hours in which a sub-model does not go below a number of replicas."""

    start: Annotated[str, Field(max_length=5, pattern=CLOCK_PATTERN)]
    """Time of day at which it begins, HH:MM."""
    end: Annotated[str, Field(max_length=5, pattern=CLOCK_PATTERN)]
    """Time of day at which it ends, HH:MM; at or before start it is that of the next day."""
    days: Annotated[
        tuple[Day, ...], Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    """Days on which it begins; empty: every day."""
    time_zone: Annotated[str, Field(max_length=64, pattern=ZONE_PATTERN)] = "UTC"
    """IANA name of the time zone that start and end are in."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """The least replicas meanwhile."""


class Autoscaling(Document):
    """How many replicas there are to be, by how long requests wait. `spec.replicas` is then written through
    /scale, and stays out of what Git holds."""

    mode: ScalingMode = ScalingMode.BUILTIN
    """Builtin: the pool's routers write /scale. External: they only export fastserve_desired_replicas, and
    something else, for example a HorizontalPodAutoscaler or KEDA, writes /scale."""
    min_replicas: Replicas = 1
    """The least; at 0 a sub-model that nobody asks goes to sleep, and routers hold requests that wake it."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """The most."""
    target_queue_millis: Annotated[int, Field(ge=1, le=600000)] = 100
    """95 of 100 requests are to wait at most so many milliseconds before their inference begins."""
    scale_down_delay_seconds: Annotated[int, Field(ge=0, le=MAX_DELAY_SECONDS)] = 60
    """For so long, and at least a minute, fewer replicas must have been enough before there are fewer."""
    idle_seconds: Annotated[int, Field(ge=1, le=MAX_DELAY_SECONDS)] = 300
    """Without a request for so long, a sub-model whose minReplicas is 0 goes to sleep."""
    warm_windows: Annotated[
        tuple[WarmWindow, ...],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Hours in which it does not go below a number of replicas."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "Autoscaling":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is more than maxReplicas {self.max_replicas}")
        return self


class PoolScaling(Document):
    """What the pool's scaled sub-models share."""

    max_gpus: Annotated[int, Field(ge=1, le=100000)] | None = None
    """GPUs that all replicas of the pool's scaled sub-models take together at the most. Scarce ones go where
    they help most."""
    awake_margin: Ratio = "0"
    """How much less similar a sub-model may be that is awake, to be asked instead of one that sleeps; decimal
    between 0 and 1, 0: the nearest is woken."""


class Prometheus(Document):
    """A Prometheus that scrapes the pool's routers."""

    url: Annotated[str, Field(max_length=2048, pattern=PROMETHEUS_PATTERN)]
    """Base URL, for example http://prometheus.monitoring:9090."""


class Monitoring(Document):
    """Where the pool's routers learn of each other's load."""

    prometheus: Prometheus | None = None
    """Without, routers ask each other."""


class Staff(Document):
    """How many replicas a member has, and may have; in the route table of members that are scaled."""

    mode: ScalingMode = ScalingMode.BUILTIN
    least: Replicas = 1
    most: Replicas = 1
    target_queue_millis: Annotated[int, Field(ge=1)] = 100
    scale_down_delay_seconds: Annotated[int, Field(ge=0)] = 60
    idle_seconds: Annotated[int, Field(ge=1)] = 300
    warm_windows: tuple[WarmWindow, ...] = ()
    replicas: Replicas = 1
    """Replicas that are to run now: `spec.replicas` within the bounds."""
    asked: Annotated[int, Field(ge=0)] = 1
    """`spec.replicas` as it stands."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that one replica takes."""
    unplaced: Annotated[int, Field(ge=0)] = 0
    """Replicas for which there is no node."""


ScalingReason = Literal[
    "Steady",
    "Demand",
    "QueueWait",
    "Backlog",
    "Woken",
    "Stabilising",
    "Eased",
    "Idle",
    "Asleep",
    "AtLeast",
    "AtMost",
    "Budget",
    "Unplaced",
    "MetricsMissing",
    "MetricsPartial",
    "Starting",
]
"""Why so many replicas; docs/autoscaling.md has a sentence on each."""


class ScalingStatus(Document):
    """The last decision on a sub-model's replicas that changed something."""

    desired_replicas: Replicas = 0
    """Replicas that it asks for."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why, as one PascalCase word."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why, with the numbers, as a sentence for people."""
    time: Annotated[str, Field(max_length=64)] = ""
    """When it was made (RFC 3339)."""


Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
WAIT_BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4,
    0.65, 1.0, 1.6, 2.5, 4.0, 6.5, 10.0, 25.0, 60.0,
)  # fmt: skip
"""Upper bounds, seconds, of the buckets in which waits are counted; one bucket more has what is above."""
ROW_SECONDS = 2
"""One row of load is about so many seconds, and begins at a multiple of them (Unix time)."""


class LoadRow(Document):
    """Load of one sub-model as one router saw it in the ROW_SECONDS from `at`."""

    at: Annotated[int, Field(ge=0, le=10**11)]
    """Unix time, a multiple of ROW_SECONDS."""
    member: str
    own: bool
    """Whether that router's own Triton serves the member: then the figures are those of its gate. Else they
    are a door's: what it sent, and what it holds for a sleeper."""
    arrivals: Count = 0
    """own: requests that came to its gate, also those that it did not let in. door: requests that were for
    the member, also held ones."""
    answered: Count = 0
    """own: requests that its Triton answered. door: 0."""
    busy_seconds: Amount = 0.0
    """own: inferences that ran, summed over time; not those that waited in Triton."""
    waiting: Count = 0
    """When the row ended. own: requests that waited, at its gate or in Triton. door: those that it held."""
    waits: tuple[Count, ...] = ()
    """own: requests by how long they waited, at its gate and in Triton (WAIT_BOUNDS)."""
    sent: dict[str, Count] = Field(default_factory=dict)
    """door: requests by the instance that they were sent to."""


class LoadReport(Document):
    """``GET /v1/load`` of a router: its rows of the last half minute; ``GET /v1/load/history`` has those of
    HISTORY_SECONDS."""

    instance: str
    member: str | None = None
    now: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
    """Unix time of that router's clock."""
    ready: bool = False
    """Whether it takes requests."""
    load_seconds: Amount = 0.0
    """How long its last load took, from the start of the router to the first answer; 0: not known."""
    limit: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Requests that its gate lets in at once."""
    pace: Amount = 0.0
    """Requests per second that its Triton answers while some wait, as learnt with this version; 0: none ever
    waited long enough to tell."""
    held: dict[str, Count] = Field(default_factory=dict)
    """Requests that its doors hold now, by the sub-model that sleeps."""
    rows: tuple[LoadRow, ...] = ()


class ScalingDecision(Document):
    """A decision on one member, as the router that holds the Lease says in its state."""

    member: str
    replicas: Replicas
    """Asked for."""
    wanted: Annotated[int, Field(ge=0)] = 0
    """Before bounds and budget."""
    reason: ScalingReason
    message: str
    time: str
    """When `replicas` or `reason` last changed (RFC 3339)."""


class ScalingState(Document):
    """What a router does about scaling."""

    holder: bool = False
    """Whether it holds the pool's Lease, so that it decides."""
    source: Literal["Routers", "Prometheus"] = "Routers"
    problem: str = ""
    """Why there is no data, or not all; empty where there is."""
    decisions: tuple[ScalingDecision, ...] = ()
