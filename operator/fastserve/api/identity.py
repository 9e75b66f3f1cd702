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
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def digest_of(document: Mapping[str, object]) -> str:
    """SHA-256 (64 hex digits) of a document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def triton_model_name(sub_model: str, digest: str) -> str:
    """Name under which Triton holds one version of a sub-model: ``<submodel>-<digest8>``."""
    return f"{sub_model}-{digest[:8]}"
