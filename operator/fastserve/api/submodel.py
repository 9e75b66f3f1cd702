"""SubModel: one specialised model, and what it is about."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastserve.api.identity import API_VERSION
from fastserve.api.meta import Conditions, Document, LastFailure, LoadProgress, Name, ObjectMeta, Quantity
from fastserve.api.pods import ObjectName, PodTemplate
from fastserve.api.scaling import Autoscaling, ScalingStatus
from fastserve.api.uris import STORAGE_URI_PATTERN
from fastserve.api.versions import RolloutPolicy

StorageUri = Annotated[str, Field(min_length=8, max_length=2048, pattern=STORAGE_URI_PATTERN)]
"""Where weights lie; api/uris.py tells the form of each scheme."""
FileUri = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^file://.+")]
"""``file://`` with an absolute path, or one relative to the YAML file."""
SHARED_RESOURCE_MARKS = ("/mig-", ".shared")
"""What the names of partitioned and time-sliced GPU resources contain, as NVIDIA's device plugin names
them. Ranks need whole GPUs that see each other."""
IMAGE_VOLUME_PATTERN = r"^oci://([^/]*[.:][^/]*|localhost)/"
"""What can be an image volume. A container runtime takes a registry whose name has neither a dot nor a port
for a folder of Docker Hub, and would pull what somebody else put there."""
Example = Annotated[str, Field(min_length=1, max_length=512)]


class PoolRef(Document):
    """The pool that this sub-model belongs to."""

    name: Name
    """Name of a ModelPool in the same namespace."""


class ConfigMapKey(Document):
    """One key of a ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "examples"
    """Key in it."""


class ExamplesFrom(Document):
    """Example texts kept elsewhere: one per line, or JSON Lines with a field "text". Exactly one of the
    two."""

    storage_uri: FileUri | None = None
    """A file; local mode only."""
    config_map: ConfigMapKey | None = None
    """A key of a ConfigMap; on a cluster only."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "ExamplesFrom":
        if (self.storage_uri is None) == (self.config_map is None):
            raise ValueError("exactly one of storageUri and configMap is required")
        return self


class Credentials(Document):
    """A Secret in the same namespace; its keys are the names that the source's own tools use, for example
    HF_TOKEN or AWS_ACCESS_KEY_ID."""

    secret_name: ObjectName
    """Name of the Secret."""


class Delivery(StrEnum):
    FETCH = "Fetch"
    IMAGE_VOLUME = "ImageVolume"


class Model(Document):
    """The weights."""

    storage_uri: StorageUri
    """A Hugging Face checkpoint folder: config.json, *.safetensors, tokenizer.json; with engine type Custom
    a Triton model folder. file:// (local mode only), https:// (an archive), s3://, gs://, hf://, oci://
    or pvc://."""
    version: Annotated[str, Field(max_length=128)] = ""
    """A name for these weights. Change it to say that what lies at storageUri changed. Default: the
    digest that the folder's own fastserve.json tells."""
    digest: Annotated[str, Field(pattern=r"^(|sha256:[0-9a-f]{64})$", max_length=71)] = ""
    """What must come: of an archive its sha256; of a folder that of its manifest, one line
    "<sha256>  <path>" per file, sorted by path. Anything else is not loaded."""
    size_limit: Quantity = "100Gi"
    """The most that is fetched, and the size of the pod's volume for it."""
    credentials: Credentials | None = None
    """What the source asks of who fetches."""
    delivery: Delivery = Delivery.FETCH
    """Fetch: the router brings the files, as storageUri says. ImageVolume: the node pulls an oci:// image and
    mounts it, on a cluster that has image volumes. Its pull secrets are podTemplate.imagePullSecrets, its
    digest is that of the URI."""

    @model_validator(mode="after")
    def _image_volume_is_the_kubelets(self) -> "Model":
        if self.delivery is not Delivery.IMAGE_VOLUME:
            return self
        if re.match(IMAGE_VOLUME_PATTERN, self.storage_uri) is None:
            raise ValueError(
                "delivery ImageVolume takes an oci:// URI whose registry has a dot or a port in its name"
            )
        if self.credentials is not None:
            raise ValueError(
                "delivery ImageVolume takes no credentials: the kubelet pulls,"
                " with podTemplate.imagePullSecrets"
            )
        if self.digest and not self.storage_uri.endswith("@" + self.digest):
            raise ValueError(
                "with delivery ImageVolume digest must be the one in storageUri, as @sha256:DIGEST:"
                " nothing else is checked by who pulls"
            )
        return self


class EngineType(StrEnum):
    TORCH = "Torch"
    CUSTOM = "Custom"


class Engine(Document):
    """What runs inside Triton."""

    type: EngineType = EngineType.TORCH
    """Torch: a Hugging Face checkpoint, cut into tensor-parallel ranks. Custom: your own Triton model
    folder (config.pbtxt and version folders) with input text BYTES [-1, 1] and output scores, or
    embedding, FP32 [-1, n]."""
    allow_cpu: bool = False
    """Serve on the CPU where GPUs were asked for and are not visible, instead of failing with
    DeviceMissing."""
    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Texts that Triton joins into one batch."""
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=1000000)] = 0
    """How long Triton waits for more texts to join a batch. While a batch runs texts join the next one
    without it, and a wait may part those. Custom: your config.pbtxt says so."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] | None = None
    """Tokens of a text that the model reads. Default: as many as the checkpoint has positions."""
    labels: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
        Field(max_length=1024, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Custom and TextClassification only: the names of the scores, in their order."""

    @model_validator(mode="after")
    def _labels_belong_to_custom(self) -> "Engine":
        if self.labels and self.type is not EngineType.CUSTOM:
            raise ValueError("labels are only for type Custom: a Torch checkpoint brings its own")
        return self


class Parallelism(Document):
    """Into how many ranks the model is cut."""

    tensor: Annotated[int, Field(ge=1, le=64)] = 1
    """Tensor-parallel ranks; must divide the heads and the hidden sizes of the checkpoint."""


class Gpu(Document):
    """GPUs of one replica: one for each rank. Without this block the model runs on the CPU."""

    resource_name: Annotated[str, Field(min_length=1, max_length=253)] = "nvidia.com/gpu"
    """Extended resource that is asked for. Shared or partitioned ones (MIG) only with one rank."""
    product: Annotated[str, Field(max_length=63)] = ""
    """The node's label nvidia.com/gpu.product must be this, for example NVIDIA-H100-80GB-HBM3."""
    memory: Quantity | None = None
    """Memory that each GPU has at least, by the node's label nvidia.com/gpu.memory."""

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
    """How many Tritons serve this sub-model. With autoscaling leave it out: it is written through /scale, and
    kept within minReplicas and maxReplicas."""
    autoscaling: Autoscaling | None = None
    """How many replicas there are to be, by how long requests wait; without it as many as replicas says."""
    suspend: bool = False
    """Run no pods for this sub-model; everything else stays."""
    rollout: RolloutPolicy = Field(default_factory=RolloutPolicy)
    """How one version of the weights takes the place of another."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """What is passed on to the pods. Local mode leaves this aside."""

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

    @model_validator(mode="after")
    def _custom_is_one_rank(self) -> "SubModelSpec":
        if self.engine.type is EngineType.CUSTOM and self.parallelism.tensor > 1:
            raise ValueError("engine.type Custom cuts nothing: parallelism.tensor must be 1 (allowed: 1)")
        return self


class RankPlacement(Document):
    """One rank of a replica."""

    rank: Annotated[int, Field(ge=0)]
    """Number of the rank."""
    device: Annotated[str, Field(max_length=64)]
    """Its device as the pod sees it: cpu, or cuda:I."""
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    """Memory of its process when it was last asked."""


class Placement(Document):
    """One pod of the sub-model."""

    pod: Annotated[str, Field(max_length=253)]
    """Name of the pod."""
    node: Annotated[str, Field(max_length=253)] = ""
    """Node that it runs on."""
    phase: Annotated[str, Field(max_length=64)] = ""
    """Pending, Fetching, Loading, Ready, Failed or Terminating."""
    version: Annotated[str, Field(max_length=128)] = ""
    """Version of the weights that it answers with."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why it is not ready; of a Pending pod the scheduler's own words."""
    ranks: Annotated[
        tuple[RankPlacement, ...],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["rank"]},
        ),
    ] = ()
    """Its ranks and their devices."""


class SubModelStatus(Document):
    """What is so."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Ready, Available, Progressing, Accepted and PlacementReady; Reconciling, Stalled and Suspended only
    while they are so."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that exist."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that answer."""
    selector: Annotated[str, Field(max_length=1024)] = ""
    """Label selector of the pods, for /scale."""
    revision: Annotated[str, Field(max_length=16)] = ""
    """Revision of the pods: what they are made of, but for the weights."""
    proved_revision: Annotated[str, Field(max_length=128)] = ""
    """Revision of the pods, what the sub-model itself says of them, and version that an inference was last
    answered with; a sub-model at zero is Ready with them, or, where it is scaled, with the last two."""
    active_version: Annotated[str, Field(max_length=128)] = ""
    """Version of the weights that answers."""
    target_version: Annotated[str, Field(max_length=128)] = ""
    """Version of the weights that is wanted."""
    placement: Annotated[
        tuple[Placement, ...],
        Field(
            max_length=100,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["pod"]},
        ),
    ] = ()
    """Where the pods run, at most 100 of them."""
    load: LoadProgress | None = None
    """How far the loading of a version has come."""
    scaling: ScalingStatus | None = None
    """The last decision on its replicas, where it is scaled."""
    last_failure: LastFailure | None = None
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
