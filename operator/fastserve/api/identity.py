"""Names that every room agrees on: API group, label keys, model names. Imports the standard library only."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

GROUP = "fastserve.io"
VERSION = "v1alpha1"
API_VERSION: Final = "fastserve.io/v1alpha1"
MAX_NAME = 40
"""Characters; children append suffixes and must stay within 63."""
FIELD_MANAGER: Final = "fastserve-operator"
"""The one manager of everything that the operator applies."""
ROUTER_MANAGER: Final = "fastserve-router"
"""The manager of what routers write: ``/scale``, and the Lease of who may."""
MANAGED_BY: Final = "fastserve-operator"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
POOL_LABEL: Final = "fastserve.io/pool"
SUBMODEL_LABEL: Final = "fastserve.io/submodel"
REVISION_LABEL: Final = "fastserve.io/revision"
ROLE_LABEL: Final = "fastserve.io/role"
"""member or standby, on pods."""
APPLIED_ANNOTATION: Final = "fastserve.io/applied-digest"
"""On every child: digest of what the operator last applied."""
RESTARTED_ANNOTATION: Final = "fastserve.io/restarted-at"
"""On a SubModel or ModelPool, by its user: changing it replaces the pods, with today's template."""
DATA_PORT: Final = 8080
ADMIN_PORT: Final = 8081
SERVICE_PORT: Final = 80
TRITON_HTTP_PORT: Final = 8000
TRITON_GRPC_PORT: Final = 8001
TRITON_METRICS_PORT: Final = 8002
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def digest_of(document: Mapping[str, object]) -> str:
    """SHA-256 (64 hex digits) of a document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def triton_model_name(sub_model: str, digest: str) -> str:
    """Name under which Triton holds one version of a sub-model: ``<submodel>-<digest8>``."""
    return f"{sub_model}-{digest[:8]}"


def image_folder(image: str) -> str:
    """Name of the folder that an image volume is mounted at. One for each image, so that a pod with another
    one does not take it for what is wanted."""
    return digest_of({"image": image})[:16]


def prototypes_name(sub_model: str) -> str:
    """Name of the ConfigMap that holds a sub-model's prototypes: the operator writes it, routers read it."""
    return f"{sub_model}-m-prototypes"


def scaling_lease_name(pool: str) -> str:
    """Name of the Lease whose holder, one of the pool's routers, scales: the operator makes it."""
    return f"{pool}-p-scaling"
