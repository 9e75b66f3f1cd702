"""What ModelPool and SubModel share: the base of all documents, object metadata, conditions."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from fastserve.api.identity import MAX_NAME, NAME_PATTERN

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN)]
Ratio = Annotated[str, Field(pattern=r"^(0(\.\d{1,6})?|1(\.0{1,6})?)$", max_length=8)]
"""A decimal between 0 and 1, written as a string so that no float rounding enters the API."""
QUANTITY_PATTERN = r"^(\+)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$"
Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=QUANTITY_PATTERN, max_length=64),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 64, "minimum": 0}
    ),
]
"""A Kubernetes quantity that is not negative: 500m, 2, 16Gi."""


class Document(BaseModel):
    """Base of everything users write and rooms exchange: frozen, camelCase on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )


class ObjectMeta(Document):
    """Kubernetes object metadata, as far as FastServe reads it."""

    name: Name
    """Unique among objects of its kind in the namespace."""
    namespace: Annotated[str, Field(max_length=63)] = "default"
    """Namespace of the object."""
    generation: Annotated[int, Field(ge=0)] = 0
    """Counts changes of the spec; set by the API server."""
    uid: str = ""
    """Set by the API server."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the object."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the object."""


class Condition(Document):
    """One statement about the object, as metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """Type of the condition in PascalCase."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, as one PascalCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, as a sentence for people."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the spec that this condition speaks of."""
    last_transition_time: Annotated[str, Field(max_length=64)] = ""
    """When the status last changed (RFC 3339)."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
"""At most one condition of each type, so that two writers can each own theirs."""


class Failure(Document):
    """The last failure, with the line that matters."""

    reason: Annotated[str, Field(max_length=256)]
    """What failed, as one PascalCase word, for example CheckpointInvalid or DeviceMissing."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """What failed, as a sentence for people."""
    time: Annotated[str, Field(max_length=64)] = ""
    """When it failed (RFC 3339)."""
    pod: Annotated[str, Field(max_length=253)] = ""
    """The pod it happened in, where it was one."""


class LastFailure(Failure):
    """A failure, and the spec that it happened with."""

    generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the spec that it happened with; told until a newer one answers."""


class LoadProgress(Document):
    """How far the loading of a version has come."""

    phase: Literal["Pending", "Fetching", "Loading", "Loaded", "FailedToLoad"] = "Pending"
    """Pending, Fetching, Loading, Loaded or FailedToLoad."""
    bytes_done: Annotated[int, Field(ge=0)] = 0
    """Fetching: bytes fetched so far. Afterwards: bytes of weights read so far, summed over the ranks."""
    bytes_total: Annotated[int, Field(ge=0)] = 0
    """Of how many; 0 where it is not known yet."""
