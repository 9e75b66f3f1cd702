"""By what a router says of its table, the operator knows whether it has the current one; routers outlive
upgrades of the operator, and its downgrades."""

import json
from typing import Any

from fastserve.api.identity import digest_of
from fastserve.api.objects import CONFIG_MAP, Manifest
from fastserve.api.routes import RouteTable
from fastserve.api.state import RouterState
from fastserve.planning.routes import digest_for_older_routers
from fastserve.router.table import parse_table
from pretend_cluster import PretendCluster, state_of, sub_model_manifest

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
OLD_ROUTERS_SAY = "c4218d8493b8ce60eb889a313d21748ddac8c88f6eb5bb2e17e5474e2a1055b6"
"""Of this table, computed by a router of the FastServe before versions were exchanged."""


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


def test_what_routers_of_before_say_of_a_table_is_known() -> None:
    assert digest_for_older_routers(RouteTable.model_validate(TABLE)) == OLD_ROUTERS_SAY


class OldRouters(PretendCluster):
    """Its routers are of the FastServe before: images stay when the operator is upgraded."""

    def _state(self, pod: Manifest) -> RouterState:
        text = self.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"]
        table = RouteTable.model_validate_json(text)
        return state_of(pod, table, table_digest=digest_for_older_routers(table))


def test_a_pool_with_routers_of_before_is_ready() -> None:
    cluster = OldRouters().add(sub_model_manifest("sport"))
    cluster.settle()
    assert cluster.statuses()["news"]["RouterReady"] == "True TableRead"
    assert cluster.statuses()["news"]["Ready"] == "True InferenceAnswered"
