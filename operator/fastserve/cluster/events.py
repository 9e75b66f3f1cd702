"""Events of events.k8s.io/v1: what `kubectl describe` shows below an object."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fastserve.api.objects import EVENT, Manifest

MAX_REASON: Final = 128
MAX_NOTE: Final = 1024


@dataclass(frozen=True)
class Reporter:
    """Who tells: which program, and which process of it."""

    controller: str
    instance: str


@dataclass(frozen=True)
class Telling:
    """What happened."""

    type: str
    reason: str
    note: str
    action: str


def event_of(regarding: Manifest, telling: Telling, by: Reporter, now: datetime) -> Manifest:
    """The Event's manifest; `regarding` needs apiVersion, kind, and a name and uid in its metadata."""
    metadata = regarding["metadata"]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
        },
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": telling.type,
        "reason": telling.reason[:MAX_REASON],
        "note": telling.note[:MAX_NOTE],
        "action": telling.action,
        "reportingController": by.controller,
        "reportingInstance": by.instance[:MAX_REASON],
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
