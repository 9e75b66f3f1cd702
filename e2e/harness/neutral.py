"""Objects of a cluster as they are kept for tests: what differs from run to run is always the same."""

import re
from typing import Any

from harness.kubectl import Manifest

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
UID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
NEUTRAL_TIME = "2026-01-01T00:00:00Z"
NEUTRAL_UID = "00000000-0000-4000-8000-000000000000"
NAMESPACE = "desk"


def neutral(manifest: Manifest) -> Manifest:
    """`manifest` in the namespace `desk`, with one time, one uid, and without what kubectl and the server
    note for themselves."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in {"managedFields", "annotations"}}
    notes = {k: v for k, v in manifest["metadata"].get("annotations", {}).items() if k != LAST_APPLIED}
    kept = {
        **manifest,
        "metadata": {**metadata, "resourceVersion": "1", **({"annotations": notes} if notes else {})},
    }
    found: Manifest = _neutral(kept, manifest["metadata"]["namespace"])
    return found


def _neutral(node: Any, namespace: str) -> Any:
    if isinstance(node, dict):
        return {key: _neutral(value, namespace) for key, value in node.items()}
    if isinstance(node, list):
        return [_neutral(item, namespace) for item in node]
    if isinstance(node, str):
        return NEUTRAL_TIME if TIME.match(node) else UID.sub(NEUTRAL_UID, node).replace(namespace, NAMESPACE)
    return node
