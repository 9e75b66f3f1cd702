"""SubModel: one specialised model, and what it is about."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastserve.api.identity import API_VERSION
from fastserve.api.meta import Conditions, Document, Failure, LoadProgress, Name, ObjectMeta

StorageUri = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^file://.+")]
"""Where files lie. ``file://`` with an absolute path, or one relative to the YAML file."""
SHARED_RESOURCE_MARKS = ("/mig-", ".shared")
"""What the names of partitioned and time-sliced GPU resources contain, as NVIDIA's device plugin names
them. Ranks need whole GPUs that see each other."""
Example = Annotated[str, Field(min_length=1, max_length=512)]


class PoolRef(Document):
    """The pool that this sub-model belongs to."""

    name: Name
    """Name of a ModelPool in the same namespace."""


class ExamplesFrom(Document):
    """Example texts kept in a file."""

    storage_uri: StorageUri
    """A text file with one example per line, or JSON Lines with a field "text"."""


class Model(Document):
    """The weights."""

    storage_uri: StorageUri
    """A Hugging Face checkpoint folder: config.json, *.safetensors, tokenizer.json."""
    version: Annotated[str, Field(max_length=128)] = ""
    """A name for these weights. Change it to say that what lies at storageUri changed. Default: the
    digest that the folder's own fastserve.json tells."""


class Engine(Document):
    """What runs inside Triton."""

    type: Literal["Torch"] = "Torch"
    """Torch: a Hugging Face checkpoint, cut into tensor-parallel ranks."""
    allow_cpu: bool = False
    """Serve on the CPU where GPUs were asked for and are not visible, instead of failing with
    DeviceMissing."""
    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Texts that Triton joins into one batch."""
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=1000000)] = 500
    """How long Triton waits for more texts to join a batch."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] | None = None
    """Tokens of a text that the model reads. Default: as many as the checkpoint has positions."""


class Parallelism(Document):
    """Into how many ranks the model is cut."""

    tensor: Annotated[int, Field(ge=1, le=64)] = 1
    """Tensor-parallel ranks; must divide the heads and the hidden sizes of the checkpoint."""


class Gpu(Document):
    """GPUs of one replica: one for each rank. Without this block the model runs on the CPU."""

    resource_name: Annotated[str, Field(min_length=1, max_length=253)] = "nvidia.com/gpu"
    """Extended resource that is asked for. Shared or partitioned ones (MIG) only with one rank."""

    @property
    def shared(self) -> bool:
        """Whether the resource is a part of a GPU."""
        return any(mark in self.resource_name for mark in SHARED_RESOURCE_MARKS)


class SubModelSpec(Document):
    """What the sub-model is to be."""

    pool_ref: PoolRef
    """The pool that this sub-model belongs to; immutable."""
    description: Annotated[str, Field(max_length=1024)] = ""
    """One sentence for people."""
    examples: Annotated[
        tuple[Example, ...],
        Field(max_length=256, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Texts that this sub-model should answer; they are its meaning for the router."""
    examples_from: ExamplesFrom | None = None
    """More such texts, from a file."""
    model: Model
    """The weights."""
    engine: Engine = Field(default_factory=Engine)
    """What runs inside Triton."""
    parallelism: Parallelism = Field(default_factory=Parallelism)
    """Into how many ranks the model is cut."""
    gpu: Gpu | None = None
    """GPUs of one replica; without it the model runs on the CPU."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many Tritons serve this sub-model."""

    @model_validator(mode="after")
    def _has_a_meaning(self) -> "SubModelSpec":
        if not self.examples and self.examples_from is None:
            raise ValueError("examples or examplesFrom is required: they tell what the sub-model is about")
        return self

    @model_validator(mode="after")
    def _ranks_have_whole_gpus(self) -> "SubModelSpec":
        if self.gpu is not None and self.gpu.shared and self.parallelism.tensor > 1:
            raise ValueError(
                f"parallelism.tensor {self.parallelism.tensor} needs whole GPUs;"
                f" gpu.resourceName {self.gpu.resource_name} is a part of one (allowed: tensor 1)"
            )
        return self


class SubModelStatus(Document):
    """What is so."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Ready, Accepted and Progressing."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that exist."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that answer."""
    selector: Annotated[str, Field(max_length=1024)] = ""
    """Label selector of the pods, for /scale."""
    active_version: Annotated[str, Field(max_length=128)] = ""
    """Version of the weights that answers."""
    load: LoadProgress | None = None
    """How far the loading of a version has come."""
    last_failure: Failure | None = None
    """The last failure, with the line that matters."""


class SubModel(Document):
    """One specialised model of a pool, and the example texts that tell what it is about."""

    api_version: Literal["fastserve.io/v1alpha1"] = API_VERSION
    """fastserve.io/v1alpha1"""
    kind: Literal["SubModel"] = "SubModel"
    """SubModel"""
    metadata: ObjectMeta
    """Name, namespace, labels."""
    spec: SubModelSpec
    """What the sub-model is to be."""
    status: SubModelStatus | None = None
    """What is so; written by FastServe only."""
