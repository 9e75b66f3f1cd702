"""Prototypes: from a stand-by router that has the current table, into the sub-model's ConfigMap, once."""

import base64
from collections.abc import Mapping
from typing import Any

from fastserve.api.identity import FIELD_MANAGER
from fastserve.api.objects import CONFIG_MAP, MODEL_POOL, SUB_MODEL, Kind, Manifest, ObjectKey
from fastserve.api.state import RouterState
from fastserve.controller.storing import prototypes_to_store
from fastserve.planning.objects.decision import Apply, ObjectPlan
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.objects.reading import Raw, read_observed
from fastserve.planning.objects.settings import ImageSet, ObjectSettings

NOW = "2026-11-21T07:00:00Z"
SETTINGS = ObjectSettings(ImageSet("router:1", "triton:1"))


def document(kind: Kind, name: str, **spec: Any) -> Manifest:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}


SPORT = document(
    SUB_MODEL,
    "sport",
    poolRef={"name": "news"},
    examples=["football"],
    model={"storageUri": "https://models.example/x.tar"},
)


def pod(role: str) -> Manifest:
    metadata = {"name": role, "namespace": "default", "uid": role, "labels": {"fastserve.io/role": role}}
    return {"metadata": metadata, "status": {"podIP": "10.0.0.1", "phase": "Running"}}


def state(role: str, table: str, **keys: str) -> RouterState:
    return RouterState(
        pool="news", instance=role, ready=True, because="", table_digest=table, prototype_keys=keys
    )


def look(states: Mapping[str, RouterState], *config_maps: Manifest) -> tuple[Observed, ObjectPlan]:
    raw = Raw(
        key=ObjectKey("default", "news"),
        pool=document(MODEL_POOL, "news"),
        sub_models=[SPORT],
        children={CONFIG_MAP: config_maps},
        pods=[pod("standby"), pod("member")],
        states=states,
    )
    observed = read_observed(raw)
    return observed, plan_objects(observed, SETTINGS, NOW)


class Routers:
    def __init__(self, rows: bytes | None = b"rows") -> None:
        self.asked: list[tuple[str, str]] = []
        self._rows = rows

    async def prototypes(self, pod: Manifest, key: str) -> bytes | None:
        self.asked.append((pod["metadata"]["name"], key))
        return self._rows


def table() -> str:
    return look({})[1].table_digest


async def test_what_is_not_stored_is_fetched_and_applied() -> None:
    routers = Routers()
    found = await prototypes_to_store(*look({"standby": state("standby", table(), sport="k1")}), routers)
    assert routers.asked == [("standby", "k1")]
    assert [(one.name, one.create, one.sub_model) for one in found] == [("sport-m-prototypes", True, "sport")]
    assert found[0].manifest["data"] == {"key": "k1"}
    assert base64.b64decode(found[0].manifest["binaryData"]["rows"]) == b"rows"
    assert found[0].manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-sport"


async def stored(key: str) -> Manifest:
    observed = look({"standby": state("standby", table(), sport=key)})
    (one,) = await prototypes_to_store(*observed, Routers())
    assert isinstance(one, Apply)
    fields: Manifest = {"f:data": {"f:key": {}}, "f:binaryData": {"f:rows": {}}}
    claim = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
    metadata = {**one.manifest["metadata"], "uid": "uid-of-the-map", "managedFields": [claim]}
    return {**one.manifest, "metadata": metadata}


async def test_what_somebody_else_wrote_over_is_fetched_and_applied_to_that_very_object() -> None:
    kept = await stored("k1")
    del kept["metadata"]["managedFields"][0]["fieldsV1"]["f:binaryData"]
    seen = look({"standby": state("standby", table(), sport="k1")}, kept)
    found = await prototypes_to_store(*seen, Routers())
    assert [(one.create, one.uid) for one in found] == [(False, "uid-of-the-map")]


async def test_a_config_map_of_that_name_which_is_anothers_is_not_taken_over() -> None:
    kept = await stored("k1")
    for owners in ([], [{**kept["metadata"]["ownerReferences"][0], "uid": "uid-of-an-older-sport"}]):
        kept["metadata"]["ownerReferences"] = owners
        seen = look({"standby": state("standby", table(), sport="k1")}, kept)
        found = await prototypes_to_store(*seen, Routers())
        assert [(one.create, one.uid) for one in found] == [(True, "")]


async def test_what_is_stored_is_not_fetched_again_and_other_examples_are() -> None:
    kept = await stored("k1")
    for key, asked in (("k1", []), ("k2", [("standby", "k2")])):
        routers = Routers()
        found = await prototypes_to_store(
            *look({"standby": state("standby", table(), sport=key)}, kept), routers
        )
        assert routers.asked == asked
        assert [one.create for one in found] == [False] * len(asked)


async def test_only_a_stand_by_router_with_the_current_table_is_believed() -> None:
    for who in (state("member", table(), sport="k1"), state("standby", "an older table", sport="k1")):
        routers = Routers()
        assert await prototypes_to_store(*look({who.instance: who}), routers) == ()
        assert routers.asked == []


async def test_a_router_that_does_not_give_them_and_members_that_are_not_there_change_nothing() -> None:
    states = {"standby": state("standby", table(), sport="k1", stranger="k9")}
    routers = Routers(rows=None)
    assert await prototypes_to_store(*look(states), routers) == ()
    assert routers.asked == [("standby", "k1")]
