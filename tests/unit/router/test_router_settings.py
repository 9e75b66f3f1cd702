"""The settings document is read strictly, and faults are named."""

import json
from pathlib import Path

import pytest

from fastserve.errors import InvalidSpec
from fastserve.router.settings import ClusterPlace, parse_settings, read_settings

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
        ({"member": "a", "scale_path": "s"}, "scale_path: is for a stand-by router"),
        (
            {"cluster": {"namespace": "n", "routes": "r"}, "scale_path": "s"},
            "scale_path: is for a router without cluster",
        ),
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


ON_A_CLUSTER = {
    "pool": "news",
    "instance": "11111111-2222-3333-4444-555555555555",
    "member": "sport",
    "host": "0.0.0.0",
    "data_port": 8080,
    "admin_port": 8081,
    "cluster": {"namespace": "team-a", "routes": "news-p-routes"},
    "run_path": "/fastserve/run",
    "encoder_path": "/opt/fastserve/encoder",
    "triton_http": "127.0.0.1:8000",
    "triton_grpc": "127.0.0.1:8001",
    "repository_path": "/fastserve/repository",
    "models_path": "/fastserve/models",
    "credentials_path": "/fastserve/credentials",
    "claims_path": "/fastserve/claims",
    "images_path": "/fastserve/images",
    "drain_seconds": 30,
    "quiet_seconds": 5,
}


def test_on_a_cluster_no_paths_of_table_peers_and_prototypes_are_needed() -> None:
    settings = parse_settings(json.dumps(ON_A_CLUSTER).encode())

    assert settings.cluster == ClusterPlace("team-a", "news-p-routes")
    assert settings.drain_socket == Path("/fastserve/run/router.sock")
    assert (settings.quiet_seconds, settings.table_path) == (5.0, None)


@pytest.mark.parametrize("field", ["table_path", "peers_path", "prototypes_path"])
def test_without_a_cluster_each_of_the_three_paths_is_required(field: str) -> None:
    document = {key: value for key, value in GOOD.items() if key != field}

    with pytest.raises(InvalidSpec, match=f"{field}: is required for a router without cluster"):
        parse_settings(json.dumps(document).encode())


def test_only_a_member_on_a_cluster_can_be_asked_to_drain_by_its_socket(tmp_path: Path) -> None:
    standby = {key: value for key, value in ON_A_CLUSTER.items() if key != "member"}

    assert parse_settings(json.dumps(standby).encode()).drain_socket is None
    assert read(tmp_path).drain_socket is None
