"""The settings document is read strictly, and faults are named."""

import json
from pathlib import Path

import pytest

from fastserve.errors import InvalidSpec
from fastserve.router.settings import read_settings

GOOD = {
    "pool": "assistant",
    "instance": "door",
    "data_port": 8080,
    "admin_port": 8081,
    "table_path": "t",
    "peers_path": "p",
    "run_path": "r",
    "prototypes_path": "q",
    "encoder_path": "e",
}


def read(tmp_path: Path, **changes: object) -> object:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return read_settings(path)


def test_a_stand_by_router_needs_no_triton(tmp_path: Path) -> None:
    assert read(tmp_path).member is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"data_port": 0}, r"\$\.data_port"),
        ({"data_port": "8080"}, r"\$\.data_port"),
        ({"dataport": 1}, "unknown field `dataport`"),
        ({"encoder_threads": 0}, "encoder_threads"),
        ({"member": "a"}, "triton_http: is required"),
        (
            {
                "member": "a",
                "triton_http": "h:1",
                "triton_grpc": "h:2",
                "repository_path": "m",
                "run_path": "/" + "a" * 99,
            },
            "too long for a Unix socket",
        ),
    ],
)
def test_a_fault_is_named(tmp_path: Path, changes: dict, fault: str) -> None:
    with pytest.raises(InvalidSpec, match=fault):
        read(tmp_path, **changes)


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"none\.json cannot be read"):
        read_settings(tmp_path / "none.json")
