"""``spec.rollout`` of a sub-model: how one version of its weights takes the place of another."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fastserve.api.meta import Document, Ratio

GATE_FAILED = "GateFailed"
CANDIDATE_LOST = "CandidateLost"
"""A candidate that answered and does not any more: ejected, or its engine gone."""
LOAD_FAILED = "LoadFailed"
"""A load that failed for no reason that is known; it may do better the second time."""
TRITON_ENDED = "TritonEnded"
"""Triton ended while it loaded: of something else, or of a version that is too large for its container."""
UNSURE = frozenset({LOAD_FAILED, TRITON_ENDED})
"""Reasons for which a version is tried a second time, and no third time."""
FAILED_LOADS = 2
"""Loads that fail for these reasons, on one router or several, until the version is to blame: a router tries
as often as whoever decides wants to see it fail."""
LOAD_TIMEOUT = "LoadTimeout"
"""Not loaded by the rollout's own deadline."""
DEFINITE = frozenset(
    {
        "InvalidSpec",
        "DigestMismatch",
        "SizeLimitExceeded",
        "NotFound",
        "ArchiveRefused",
        "CheckpointInvalid",
        "CheckpointMissing",
        "OutOfMemory",
        "DeviceMissing",
        LOAD_TIMEOUT,
        GATE_FAILED,
        CANDIDATE_LOST,
    }
)
"""Reasons for which one router's word is enough to refuse a version: another try would end alike."""

FACTOR_PATTERN = r"^[1-9]\d{0,3}(\.\d{1,3})?$"
Factor = Annotated[str, Field(pattern=FACTOR_PATTERN, max_length=8)]
"""A decimal from 1 to 9999.999, written as a string so that no float rounding enters the API."""
Seconds = Annotated[int, Field(ge=1, le=86400)]


class RolloutType(StrEnum):
    HOT_SWAP = "HotSwap"
    RECREATE = "Recreate"


class Canary(Document):
    """A trial with a part of the requests."""

    share: Ratio = "0"
    """Part of a trying replica's requests that the new version answers; 0 and 1: no trial."""
    duration_seconds: Seconds = 60
    """How long the trial lasts, counted from when the new version answers."""


class Gate(Document):
    """What the new version must show; where it does not, the old one stays."""

    min_agreement: Ratio = "0"
    """Share of the sub-model's examples (the first 32) on which it must answer as the old one does: with
    the same label, or an embedding of cosine 0.99 and more. 0: it is not asked."""
    max_failure_share: Ratio = "0.05"
    """Share of its requests that may fail."""
    max_latency_ratio: Factor = "2"
    """How many times the old one's median inference time it may take, once both answered 20 requests."""


class RolloutPolicy(Document):
    """How one version of the weights takes the place of another."""

    type: RolloutType = RolloutType.HOT_SWAP
    """HotSwap loads the new version beside the old one, and out of the pool only where memory does not hold
    both. Recreate always takes the replica out of the pool first."""
    max_unavailable: Annotated[int, Field(ge=1, le=1000)] = 1
    """Replicas that exchange at once, less those that are away for other reasons."""
    canary: Canary = Field(default_factory=Canary)
    """A trial with a part of the requests."""
    gate: Gate = Field(default_factory=Gate)
    """What the new version must show; where it does not, the old one stays."""
    progress_deadline_seconds: Seconds = 600
    """Without a step forward for so long, the new version is refused and the old one stays."""
    paused: bool = False
    """Hold a rollout where it is: nothing goes further, nothing goes back, what is loaded stays."""
