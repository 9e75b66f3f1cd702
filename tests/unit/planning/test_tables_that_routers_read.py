"""By what a router says of its table, the operator knows whether it has the current one; routers outlive
upgrades of the operator, and its downgrades."""

import json
from typing import Any

from fastserve.api.identity import digest_of
from fastserve.api.routes import RouteTable
from fastserve.router.table import parse_table

TARGET = {
    "digest": "a" * 64,
    "modelName": "sport-aaaaaaaa",
    "version": "v1",
    "storageUri": "s3://models/v1",
    "files": {"config.pbtxt": "max_batch_size: 32"},
    "engine": {"devices": ["cpu"], "python": "/usr/bin/python3"},
}
ROLLOUT = {
    "candidate": {**TARGET, "digest": "b" * 64},
    "generation": 2,
    "named": ["r0"],
    "since": "2026-11-21T06:00:00Z",
    "step": "2026-11-21T06:00:00Z",
    "deadlineSeconds": 600,
}
MEMBER: dict[str, Any] = {
    "name": "sport",
    "meaning": {"examples": ["Who won?"], "digest": "0" * 64},
    "target": TARGET,
    "rollout": ROLLOUT,
    "proved": ["a" * 64],
    "generation": 2,
    "asked": "c" * 64,
}
TABLE: dict[str, Any] = {
    "pool": "news",
    "generation": 3,
    "task": "TextClassification",
    "selection": {},
    "method": "WeightedSum",
    "deadlineMillis": 5000,
    "minMembers": 1,
    "limits": {"maxConnections": 64},
    "tenants": {"header": "x-team"},
    "members": [MEMBER],
}


def test_a_router_tells_the_digest_of_what_was_written() -> None:
    table = RouteTable.model_validate(TABLE)
    assert parse_table(table.model_dump_json(by_alias=True)).digest == digest_of(
        table.model_dump(mode="json")
    )


def test_what_this_router_does_not_know_yet_counts_too() -> None:
    """Also where it is newer than who wrote the table, and older."""
    table = RouteTable.model_validate(TABLE).model_dump(mode="json")
    newer = {**table, "surprise": True}
    assert parse_table(json.dumps(newer)).digest == digest_of(newer)
    del table["tenants"]
    assert parse_table(json.dumps(table)).digest == digest_of(table)
