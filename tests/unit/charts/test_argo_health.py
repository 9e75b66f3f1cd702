"""The health scripts in Lua 5.1 with nothing but what Argo CD lets them use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from argo_health import HEALTH, health_of
from pool_statuses import scenarios


def cases() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each case of each health_test.yaml, in Argo CD's own form."""
    for file in sorted(HEALTH.glob("*/*/health_test.yaml")):
        for case in YAML(typ="safe").load(file.read_text(encoding="utf-8"))["tests"]:
            yield file.parent, case


CASES = list(cases())


@pytest.mark.parametrize(
    ("folder", "case"), CASES, ids=[f"{folder.name}-{Path(case['inputPath']).stem}" for folder, case in CASES]
)
def test_a_case_has_the_health_that_is_written_beside_it(folder: Path, case: dict[str, Any]) -> None:
    manifest = YAML(typ="safe").load((folder / case["inputPath"]).read_text(encoding="utf-8"))
    wanted = case["healthStatus"]
    assert health_of(manifest) == (wanted["status"], wanted["message"])


def test_every_piece_of_testdata_is_a_case() -> None:
    told = {folder / case["inputPath"] for folder, case in CASES}
    assert told == set(HEALTH.glob("*/*/testdata/*.yaml"))
    assert {folder.name for folder, _ in CASES} == {"Application", "ModelPool", "SubModel"}


WANTED = {
    "healthy": ("Healthy", "Healthy"),
    "loading": ("Progressing", "Progressing"),
    "pending": ("Progressing", "Progressing"),
    "broken": ("Degraded", "Degraded"),
    "rejected": ("Progressing", "Degraded"),
    "suspended": ("Suspended", "Suspended"),
    "new": ("Progressing", "Progressing"),
    "asleep": ("Healthy", "Healthy"),
    "waking": ("Healthy", "Progressing"),
}


@pytest.mark.parametrize("name", WANTED)
def test_what_the_operator_writes_is_understood(name: str) -> None:
    pair = scenarios()[name]
    assert (health_of(pair.pool)[0], health_of(pair.sub_model)[0]) == WANTED[name]


def test_every_scenario_has_a_wanted_health() -> None:
    assert set(WANTED) == set(scenarios())


def test_a_pending_model_is_shown_with_the_schedulers_words() -> None:
    assert "Insufficient nvidia.com/gpu" in health_of(scenarios()["pending"].sub_model)[1]


@pytest.mark.parametrize("kind", ["ModelPool", "SubModel"])
def test_a_status_of_an_older_generation_says_nothing(kind: str) -> None:
    manifest = scenarios()["healthy"].pool
    manifest = {**manifest, "metadata": {**manifest["metadata"], "generation": 3}}
    assert health_of(manifest, kind)[0] == "Progressing"


@pytest.mark.parametrize("status", [None, {}, {"conditions": []}, {"observedGeneration": 2}])
def test_an_object_that_nobody_has_looked_at_yet_is_progressing(status: dict[str, Any] | None) -> None:
    manifest = {**scenarios()["new"].pool, "status": status}
    assert health_of(manifest)[0] == "Progressing"


def test_an_object_that_is_being_deleted_is_progressing_whatever_its_status_says() -> None:
    manifest = scenarios()["healthy"].pool
    metadata = {**manifest["metadata"], "deletionTimestamp": "2026-11-21T07:00:00Z"}
    assert health_of({**manifest, "metadata": metadata}) == ("Progressing", "is being deleted")


def test_a_condition_without_a_message_is_told_by_its_reason() -> None:
    status = {
        "observedGeneration": 2,
        "conditions": [{"type": "Ready", "status": "Unknown", "reason": "New"}],
    }
    assert health_of({**scenarios()["new"].pool, "status": status}) == ("Progressing", "New")
