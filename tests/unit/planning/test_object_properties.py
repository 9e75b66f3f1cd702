"""What holds for every pool, every set of sub-models and every history of edits."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.objects import CONFIG_MAP, DEPLOYMENT, SERVICE, Manifest
from fastserve.planning.objects.decision import ObjectPlan
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.objects.status import pool_status, sub_model_status
from pretend_cluster import LATER, NOW, SETTINGS, PretendCluster, pool_manifest, sub_model_manifest

NAMES = ("a", "b", "c", "d")
GOOD: tuple[dict[str, Any], ...] = (
    {},
    {"replicas": 0},
    {"replicas": 3},
    {"suspend": True},
    {"replicas": 0, "autoscaling": {"minReplicas": 0, "maxReplicas": 2}},
    {"replicas": 1, "autoscaling": {"minReplicas": 0, "maxReplicas": 2}},
    {"replicas": 9, "autoscaling": {"mode": "External", "maxReplicas": 3}},
    {"gpu": {}, "parallelism": {"tensor": 2}},
    {"gpu": {}, "podTemplate": {"labels": {"team": "red"}}},
    {"podTemplate": {"nodeSelector": {"disk": "fast"}}},
    {"model": {"storageUri": "s3://models/other", "version": "v2"}},
    {"model": {"storageUri": "pvc://claim/path"}},
    {"model": {"storageUri": "oci://r.example/a:1", "delivery": "ImageVolume"}},
    {"engine": {"type": "Custom", "labels": ["x", "y"]}},
)
BAD: tuple[dict[str, Any], ...] = (
    {"model": {"storageUri": "file:///models/x"}},
    {"replicas": "many"},
    {"examples": []},
    {"examplesFrom": {"configMap": {"name": "missing"}}},
)
POOLS: tuple[dict[str, Any], ...] = (
    {},
    {"suspend": True},
    {"router": {"standbyReplicas": 2}},
    {"router": {"podTemplate": {"labels": {"team": "red"}}}},
    {"selection": {"fallback": {"type": "SubModel", "subModel": "a"}}},
    {"selection": {"topK": "two"}},
)

specs = st.sampled_from([*GOOD, *BAD])
Step = Callable[[PretendCluster], None]


def put(name: str, spec: dict[str, Any], life: int) -> Step:
    """The sub-model gets this spec; with another `life` it was deleted and made again in between."""

    def step(cluster: PretendCluster) -> None:
        before = cluster.sub_models.get(name)
        generation = before["metadata"]["generation"] + 1 if before else 1
        made = sub_model_manifest(name, generation=generation, uid=f"uid-{name}-{life}", **spec)
        if before is not None and before["metadata"]["uid"] == made["metadata"]["uid"]:
            made["status"] = before.get("status", {})
        cluster.sub_models[name] = made

    return step


def drop(name: str) -> Step:
    """Deleted, and the garbage collector has been: children of a former life of the name are gone too."""

    def step(cluster: PretendCluster) -> None:
        cluster.sub_models.pop(name, None)
        alive = {one["metadata"]["uid"] for one in cluster.sub_models.values()} | {"", "uid-pool"}
        cluster.children = {key: one for key, one in cluster.children.items() if owner(one) in alive}

    return step


def shape_pool(spec: dict[str, Any]) -> Step:
    def step(cluster: PretendCluster) -> None:
        generation = cluster.pool["metadata"]["generation"] + 1 if cluster.pool else 1
        cluster.pool = pool_manifest(generation=generation, **spec)

    return step


def drift(choice: int) -> Step:
    def step(cluster: PretendCluster) -> None:
        there = cluster.names(DEPLOYMENT)
        if there:
            name = there[choice % len(there)]
            if "f:replicas" in cluster.children[(DEPLOYMENT, name)]["metadata"]["managedFields"][0][
                "fieldsV1"
            ].get("f:spec", {}):
                cluster.edit(DEPLOYMENT, name, "spec", "replicas")

    return step


def strip(choice: int) -> Step:
    """Somebody deletes a child by hand."""

    def step(cluster: PretendCluster) -> None:
        there = sorted(cluster.children, key=lambda key: (key[0].name, key[1]))
        if there:
            del cluster.children[there[choice % len(there)]]

    return step


def look(cluster: PretendCluster) -> None:
    cluster.look()


def run(cluster: PretendCluster) -> None:
    if (CONFIG_MAP, "news-p-routes") in cluster.children:
        cluster.run()


def no_pool(cluster: PretendCluster) -> None:
    cluster.pool = None
    cluster.children = {key: one for key, one in cluster.children.items() if owner(one) != "uid-pool"}


names = st.sampled_from(NAMES)
steps = st.one_of(
    st.builds(put, names, specs, st.integers(1, 2)),
    st.builds(drop, names),
    st.builds(shape_pool, st.sampled_from(POOLS)),
    st.builds(drift, st.integers(0, 9)),
    st.builds(strip, st.integers(0, 99)),
    st.just(look),
    st.just(run),
    st.just(no_pool),
)
histories = st.lists(steps, max_size=14)


def owner(manifest: Manifest) -> str:
    references = manifest["metadata"].get("ownerReferences") or [{"uid": ""}]
    return str(references[0]["uid"])


def settled(history: list[Step]) -> PretendCluster:
    cluster = PretendCluster(pool=None)
    for step in history:
        step(cluster)
    for _ in range(12):
        written = cluster.look()
        run(cluster)
        if not written and not cluster.look():
            return cluster
    raise AssertionError(f"never at rest: {cluster.writes[-8:]}")


@given(histories)
@settings(max_examples=60)
def test_whatever_happened_it_comes_to_rest_and_then_nothing_is_written(history: list[Step]) -> None:
    cluster = settled(history)
    before = copy.deepcopy((cluster.children, cluster.sub_models, cluster.pool))
    assert cluster.look(now=LATER) == 0
    assert (cluster.children, cluster.sub_models, cluster.pool) == before


@given(histories, st.lists(st.sampled_from(sorted(NAMES)), unique=True))
@settings(max_examples=60)
def test_what_is_there_in_the_end_depends_on_the_end_alone(history: list[Step], deleted: list[str]) -> None:
    ending = [shape_pool({}), *(drop(name) for name in NAMES), *(put(name, {}, 3) for name in deleted)]
    cluster, fresh = settled([*history, *ending]), settled(ending)
    templates = {"ControllerRevision"}  # one older than the current may be kept
    after = {key: 0 for key in cluster.children if key[0].name not in templates}
    assert after == {key: 0 for key in fresh.children if key[0].name not in templates}
    assert {name: said["Ready"] for name, said in cluster.statuses().items()} == {
        name: said["Ready"] for name, said in fresh.statuses().items()
    }


@given(histories, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_in_which_things_are_read_does_not_matter(history: list[Step], chance: Any) -> None:
    cluster = PretendCluster(pool=None)
    for step in history:
        step(cluster)

    def shuffled(objects: list[Any]) -> list[Any]:
        chance.shuffle(objects)
        return objects

    one, other = cluster.observed(), cluster.observed(shuffled)
    plans = plan_objects(one, SETTINGS, NOW), plan_objects(other, SETTINGS, NOW)
    assert plans[0] == plans[1]
    assert told(one, plans[0]) == told(other, plans[1])


def told(observed: Observed, plan: ObjectPlan) -> list[Any]:
    said: list[Any] = [
        sub_model_status(name, observed, plan, (), NOW)
        for name in sorted({*observed.sub_models, *observed.unreadable})
    ]
    return [*said, pool_status(observed, plan, (), NOW)] if observed.pool else said


@given(histories, st.sampled_from(["none", "other controller", "another pool's"]), st.integers(0, 99))
@settings(max_examples=40)
def test_nothing_is_touched_that_is_not_controlled_by_this_pool_or_its_sub_models(
    history: list[Step], whose: str, choice: int
) -> None:
    cluster = settled(history)
    there = sorted(cluster.children, key=lambda key: (key[0].name, key[1]))
    if not there:
        return
    kind, name = there[choice % len(there)]
    taken = cluster.children[(kind, name)]
    references: dict[str, list[dict[str, Any]]] = {
        "none": [],
        "other controller": [
            {"apiVersion": "apps/v1", "kind": "X", "name": "x", "uid": "x", "controller": True}
        ],
        "another pool's": [
            {
                "apiVersion": "fastserve.io/v1alpha1",
                "kind": "SubModel",
                "name": "elsewhere",
                "uid": "elsewhere",
                "controller": True,
            }
        ],
    }
    taken["metadata"]["ownerReferences"] = references[whose]
    taken["metadata"].pop("annotations")  # nobody knows any more what was applied
    before = copy.deepcopy(taken)
    for _ in range(3):
        cluster.look()
    assert cluster.children[(kind, name)] == before


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3), st.sampled_from(BAD))
@settings(max_examples=60)
def test_a_bad_member_never_changes_a_neighbours_objects(
    good: list[dict[str, Any]], bad: dict[str, Any]
) -> None:
    members = [put(name, spec, 1) for name, spec in zip(NAMES, good, strict=False)]
    alone = settled([shape_pool({}), *members])
    beside = settled([shape_pool({}), *members, put("z", bad, 1)])
    assert alone.children == beside.children
    assert "z" not in beside.plan().targets


@given(histories)
@settings(max_examples=60)
def test_a_plan_leaves_what_was_observed_as_it_was(history: list[Step]) -> None:
    cluster = PretendCluster(pool=None)
    for step in history:
        step(cluster)
    observed = cluster.observed()
    before = copy.deepcopy(observed)
    told(observed, plan_objects(observed, SETTINGS, NOW))
    assert observed == before


@given(histories)
@settings(max_examples=60)
def test_a_stand_by_router_never_goes_before_its_successor_is_there(history: list[Step]) -> None:
    cluster = settled([*history, shape_pool({})])
    cluster.pool = pool_manifest(generation=99, router={"podTemplate": {"labels": {"is": "new"}}})
    for _ in range(4):
        cluster.look()
        doors = [name for name in cluster.names(DEPLOYMENT) if name.startswith("news-p-standby")]
        assert doors
        assert any(
            cluster.children[(DEPLOYMENT, name)].get("status", {}).get("availableReplicas") for name in doors
        )
        cluster.run()
    assert (SERVICE, "news") in cluster.children
