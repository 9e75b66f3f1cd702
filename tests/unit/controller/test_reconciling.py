"""One look at one pool, against a cluster in memory: what is written, and what one failure stops."""

import copy
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from fastserve.api.identity import POOL_LABEL, ROLE_LABEL
from fastserve.api.objects import (
    CHILD_KINDS,
    DEPLOYMENT,
    LEASE,
    MODEL_POOL,
    POD,
    SERVICE,
    SUB_MODEL,
    Kind,
    Manifest,
    ObjectKey,
)
from fastserve.api.scaling import ScalingDecision, ScalingState
from fastserve.api.state import RouterState
from fastserve.cluster.leasing import LeaseLost
from fastserve.cluster.port import Selector
from fastserve.controller.announcing import Announcer
from fastserve.controller.keys import WATCHED, PoolIndex
from fastserve.controller.reconcile import REFUSED_AGAIN, Reconciler
from fastserve.controller.reporting import Reporter
from fastserve.errors import ClusterError, NotFound, Refused, Unreachable
from fastserve.planning.objects.settings import ImageSet, ObjectSettings

KEY = ObjectKey("default", "news")
SETTINGS = ObjectSettings(ImageSet("router:1", "triton:1"))
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def document(kind: Kind, name: str, **spec: Any) -> Manifest:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}


def news(*sub_models: str) -> list[tuple[Kind, Manifest]]:
    return [
        (MODEL_POOL, document(MODEL_POOL, "news")),
        *(
            (
                SUB_MODEL,
                document(
                    SUB_MODEL,
                    name,
                    poolRef={"name": "news"},
                    examples=[name],
                    model={"storageUri": "https://models.example/x.tar"},
                ),
            )
            for name in sub_models
        ),
    ]


class MemoryCluster:
    """Objects by kind and name; `refusals` says what writing one raises. Notes every write."""

    def __init__(self, objects: Sequence[tuple[Kind, Manifest]]) -> None:
        self.objects = {(kind, one["metadata"]["name"]): copy.deepcopy(one) for kind, one in objects}
        self.refusals: dict[tuple[Kind, str], ClusterError] = {}
        self.writes: list[str] = []

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest:
        if (kind, key.name) not in self.objects:
            raise NotFound(str(key))
        return copy.deepcopy(self.objects[kind, key.name])

    async def list_of(self, kind: Kind, namespace: str, selector: Selector) -> list[Manifest]:
        wanted = (selector.labels or {}).get(POOL_LABEL)
        return [
            copy.deepcopy(one)
            for (of, _), one in self.objects.items()
            if of == kind and (wanted is None or one["metadata"].get("labels", {}).get(POOL_LABEL) == wanted)
        ]

    def watch(self, kind: Kind, namespace: str, selector: Selector) -> AsyncIterator[list[Manifest]]:
        raise AssertionError("the operator watches by kopf")

    async def apply(self, kind: Kind, manifest: Manifest, mode: Literal["create", "update"]) -> Manifest:
        name = manifest["metadata"]["name"]
        seen = self.objects.get((kind, name), {"metadata": {}})["metadata"].get("uid")
        assert manifest["metadata"].get("uid") == (seen if mode == "update" else None)
        self._write(f"{mode} {kind.name}/{name}", kind, name)
        stored = copy.deepcopy(manifest)
        stored["metadata"]["uid"] = f"uid-{kind.name}-{name}"
        self.objects[kind, name] = stored
        return stored

    async def delete(self, kind: Kind, key: ObjectKey, uid: str) -> None:
        self._write(f"delete {kind.name}/{key.name}", kind, key.name)
        del self.objects[kind, key.name]

    async def write_status(self, kind: Kind, key: ObjectKey, manifest: Manifest) -> None:
        self._write(f"status {kind.name}/{key.name}", kind, key.name)
        assert manifest["metadata"]["uid"] == self.objects[kind, key.name]["metadata"]["uid"]
        self.objects[kind, key.name]["status"] = manifest["status"]

    async def create_event(self, namespace: str, event: Manifest) -> None:
        self._write(f"event {event['regarding']['name']} {event['reason']}", SUB_MODEL, "event")

    def _write(self, what: str, kind: Kind, name: str) -> None:
        if (kind, name) in self.refusals:
            raise self.refusals[kind, name]
        self.writes.append(what)

    def deployment_of(self, sub_model: str) -> tuple[Kind, str]:
        return next(
            (kind, name)
            for kind, name in self.objects
            if kind == DEPLOYMENT and name.startswith(f"{sub_model}-m-")
        )


class NoRouters:
    """Nobody answers. Notes who was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def states(self, pods: Sequence[Manifest]) -> dict[str, RouterState]:
        self.asked = [pod["metadata"]["name"] for pod in pods]
        return {}

    async def prototypes(self, pod: Manifest, key: str) -> bytes | None:
        return None


class OneRouter(NoRouters):
    """A stand-by router that scales the pool, and asks for this many replicas of sport."""

    def __init__(self, replicas: int) -> None:
        super().__init__()
        self.replicas = replicas

    async def states(self, pods: Sequence[Manifest]) -> dict[str, RouterState]:
        await super().states(pods)
        made = ScalingDecision(
            member="sport",
            replicas=self.replicas,
            reason="Demand",
            message="9/s",
            time="2026-11-21T00:00:00Z",
        )
        scaling = ScalingState(holder=True, decisions=(made,))
        state = RouterState(pool="news", instance="uid-door", ready=True, because="", scaling=scaling)
        return {"uid-door": state}


def reconciler(cluster: MemoryCluster, routers: NoRouters | None = None) -> Reconciler:
    reporter = Reporter(cluster, Announcer(cluster, "operator-0"), "cluster.local")
    return Reconciler(cluster, routers or NoRouters(), reporter, lambda: NOW)  # type: ignore[arg-type]


async def test_a_pool_gets_its_objects_then_its_statuses() -> None:
    cluster = MemoryCluster(news("sport", "world"))
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    kinds = [write.split("/")[0] for write in cluster.writes]
    assert kinds.index("create Service") < kinds.index("create Deployment") < kinds.index("status ModelPool")
    assert {cluster.deployment_of("sport")[0], cluster.deployment_of("world")[0]} == {DEPLOYMENT}
    statuses = [write for write in cluster.writes if write.startswith("status")]
    assert statuses == ["status ModelPool/news", "status SubModel/sport", "status SubModel/world"]


async def test_a_status_that_says_the_same_is_not_written_again() -> None:
    cluster = MemoryCluster(news("sport"))
    for _ in range(3):
        await reconciler(cluster).reconcile(KEY, SETTINGS)
    cluster.writes.clear()
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert [write for write in cluster.writes if write.startswith(("status", "event"))] == []


async def test_one_object_that_is_refused_stops_no_other_and_is_told() -> None:
    cluster = MemoryCluster(news("sport", "world"))
    cluster.refusals[SERVICE, "sport-m"] = Refused("quota exceeded")
    outcome = await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert cluster.deployment_of("world")
    assert "quota exceeded" in str(cluster.objects[SUB_MODEL, "sport"]["status"])
    assert "quota exceeded" not in str(cluster.objects[SUB_MODEL, "world"]["status"])
    assert outcome.recheck_after is not None
    assert outcome.recheck_after <= REFUSED_AGAIN


async def test_one_object_that_is_not_reached_stops_no_other_and_is_tried_again() -> None:
    cluster = MemoryCluster(news("sport", "world"))
    cluster.refusals[SERVICE, "sport-m"] = Unreachable("no answer")
    with pytest.raises(Unreachable):
        await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert cluster.deployment_of("world")
    assert "status" in cluster.objects[SUB_MODEL, "world"]


async def test_one_status_that_cannot_be_written_stops_no_other() -> None:
    cluster = MemoryCluster(news("sport"))
    cluster.refusals[MODEL_POOL, "news"] = Unreachable("500")
    with pytest.raises(Unreachable):
        await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert "status" in cluster.objects[SUB_MODEL, "sport"]


async def test_events_that_cannot_be_written_are_lost_and_nothing_else() -> None:
    cluster = MemoryCluster(news("sport"))
    cluster.refusals[SUB_MODEL, "event"] = Unreachable("500")
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert "status" in cluster.objects[SUB_MODEL, "sport"]


async def test_who_lost_the_lease_stops_at_the_next_write() -> None:
    cluster = MemoryCluster(news("sport"))
    cluster.refusals[SERVICE, "news"] = LeaseLost("not ours")
    with pytest.raises(LeaseLost):
        await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert not [write for write in cluster.writes if "Deployment" in write or "status" in write]


async def test_a_key_with_nothing_left_is_gone() -> None:
    assert (await reconciler(MemoryCluster([])).reconcile(KEY, SETTINGS)).gone


async def test_a_deleted_pool_takes_its_members_pods_and_leaves_its_sub_models() -> None:
    cluster = MemoryCluster(news("sport"))
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    del cluster.objects[MODEL_POOL, "news"]
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert not [name for kind, name in cluster.objects if kind == DEPLOYMENT and name.startswith("sport-m")]
    assert "PoolNotFound" in str(cluster.objects[SUB_MODEL, "sport"]["status"])


def scaled(replicas: int) -> list[tuple[Kind, Manifest]]:
    """The pool news whose sub-model sport is scaled, with a stand-by router."""
    objects = news("sport")
    objects[1][1]["spec"] |= {"autoscaling": {"maxReplicas": 9}, "replicas": replicas}
    labels = {POOL_LABEL: "news", ROLE_LABEL: "standby"}
    door = {"metadata": {"name": "door", "namespace": "default", "uid": "uid-door", "labels": labels}}
    return [*objects, (POD, door)]


async def test_after_a_write_of_the_scale_its_decision_is_heard_and_told_in_the_same_look() -> None:
    cluster, routers = MemoryCluster(scaled(1)), OneRouter(1)
    await reconciler(cluster, routers).reconcile(KEY, SETTINGS)
    cluster.objects[SUB_MODEL, "sport"]["spec"]["replicas"] = routers.replicas = 4
    await reconciler(cluster, routers).reconcile(KEY, SETTINGS)
    assert routers.asked == ["door"]
    assert cluster.objects[cluster.deployment_of("sport")]["spec"]["replicas"] == 4
    status = cluster.objects[SUB_MODEL, "sport"]["status"]
    assert (status["scaling"]["desiredReplicas"], status["scaling"]["message"]) == (4, "9/s")


async def test_the_operator_makes_the_lease_reads_it_and_never_writes_what_is_in_it() -> None:
    cluster = MemoryCluster(scaled(1))
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    lease = cluster.objects[LEASE, "news-p-scaling"]
    assert "spec" not in lease
    lease["spec"] = {"holderIdentity": "uid-door"}
    cluster.writes.clear()
    del cluster.objects[SUB_MODEL, "sport"]["spec"]["autoscaling"]
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    assert [write for write in cluster.writes if "Lease" in write] == ["delete Lease/news-p-scaling"]


async def test_a_lease_that_outlives_its_pool_is_left_to_the_garbage_collector() -> None:
    cluster = MemoryCluster(scaled(1))
    await reconciler(cluster).reconcile(KEY, SETTINGS)
    cluster.objects = {(LEASE, "news-p-scaling"): cluster.objects[LEASE, "news-p-scaling"]}
    assert (await reconciler(cluster).reconcile(KEY, SETTINGS)).gone


def test_all_that_is_made_is_watched_but_for_leases() -> None:
    assert set(WATCHED) == {MODEL_POOL, SUB_MODEL, POD, *CHILD_KINDS} - {LEASE}
    assert LEASE in CHILD_KINDS


def test_every_object_leads_to_its_pool() -> None:
    index = PoolIndex()
    labelled = {"metadata": {"name": "x", "namespace": "default", "labels": {POOL_LABEL: "news"}}}
    assert index.pool_of(SERVICE, labelled, is_gone=False) == KEY
    assert index.pool_of(MODEL_POOL, document(MODEL_POOL, "news"), is_gone=True) == KEY
    sport = document(SUB_MODEL, "sport", poolRef={"name": "news"})
    assert index.pool_of(SUB_MODEL, sport, is_gone=False) == KEY
    owner = {"kind": "SubModel", "name": "sport"}
    bare = {"metadata": {"name": "x", "namespace": "default", "ownerReferences": [owner]}}
    assert index.pool_of(SERVICE, bare, is_gone=False) == KEY
    assert index.pool_of(SUB_MODEL, sport, is_gone=True) == KEY
    assert index.pool_of(SERVICE, bare, is_gone=False) is None
