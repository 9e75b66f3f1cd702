"""Drift, on managedFields as a real API server (1.37) wrote them after each of these commands."""

import json
from pathlib import Path

import pytest

from fastserve.api.identity import FIELD_MANAGER
from fastserve.planning.objects.drift import applied_at, needs_apply

SAMPLES = Path(__file__).parent / "managed_fields"
CHANGED = "was changed by somebody else"


@pytest.mark.parametrize(
    ("kind", "done", "because"),
    [
        ("deployment", "nothing", ""),
        ("deployment", "kubectl scale", f"spec.replicas {CHANGED}"),
        ("deployment", "kubectl set image", f"spec.template.spec.containers.image {CHANGED}"),
        ("deployment", "our label changed", f"metadata.labels.fastserve.io/pool {CHANGED}"),
        ("deployment", "our label removed", f"metadata.labels.fastserve.io/submodel {CHANGED}"),
        ("deployment", "managedFields removed", f"metadata {CHANGED}"),
        ("deployment", "digest removed", "what is wanted changed"),
        ("deployment", "another label", ""),
        ("deployment", "kubectl set env", ""),
        ("deployment", "kubectl rollout restart", ""),
        ("service", "nothing", ""),
        ("service", "port changed", f"spec.ports {CHANGED}"),
        ("service", "type changed", f"spec.type {CHANGED}"),
        ("role", "nothing", ""),
        ("role", "rule added", f"rules {CHANGED}"),
    ],
)
def test_what_others_do_to_our_fields_is_seen_and_what_they_add_is_theirs(
    kind: str, done: str, because: str
) -> None:
    sample = json.loads((SAMPLES / f"{kind}.json").read_text(encoding="utf-8"))
    live = {"metadata": sample["metadata_after"][done]}
    assert needs_apply(live, sample["wanted"]) == because


def managed(entry: dict[str, object]) -> dict[str, object]:
    return {"metadata": {"managedFields": [entry]}}


@pytest.mark.parametrize(
    ("entry", "because"),
    [
        ({}, ""),
        ({"manager": "kubectl"}, f"spec {CHANGED}"),
        ({"operation": "Update"}, f"spec {CHANGED}"),
        ({"subresource": "status"}, f"spec {CHANGED}"),
    ],
)
def test_only_our_own_applies_of_the_object_itself_count(entry: dict[str, object], because: str) -> None:
    ours = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}}}}
    assert needs_apply(managed({**ours, **entry}), {"metadata": {}, "spec": {"a": 1}}) == because


def test_fields_that_were_applied_through_two_versions_of_the_api_are_ours_alike() -> None:
    entries = [
        {"manager": FIELD_MANAGER, "operation": "Apply", "time": time, "fieldsV1": {"f:spec": {field: {}}}}
        for time, field in (("2026-01-01T00:00:00Z", "f:a"), ("2026-01-02T00:00:00Z", "f:b"))
    ]
    live = {"metadata": {"managedFields": entries}}
    assert needs_apply(live, {"metadata": {}, "spec": {"a": 1, "b": 2}}) == ""
    assert applied_at(live) == "2026-01-02T00:00:00Z"


def test_an_entry_of_a_keyed_list_is_found_though_a_default_is_part_of_its_key() -> None:
    fields = {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}
    live = managed({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields})
    assert needs_apply(live, {"metadata": {}, "ports": [{"port": 80}]}) == ""
    assert needs_apply(live, {"metadata": {}, "ports": [{"port": 81}]}) == f"ports.item {CHANGED}"


def test_an_entry_of_a_set_is_found_by_its_value() -> None:
    fields = {"f:finalizers": {'v:"one"': {}}}
    live = managed({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields})
    assert needs_apply(live, {"metadata": {}, "finalizers": ["one"]}) == ""
    assert needs_apply(live, {"metadata": {}, "finalizers": ["two"]}) == f"finalizers.two {CHANGED}"
