"""Objects with the statuses that the operator's pure functions give them: what Argo CD would see."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fastserve.api.identity import REVISION_LABEL, ROLE_LABEL, SUBMODEL_LABEL
from fastserve.api.meta import Failure, LoadProgress
from fastserve.api.objects import Kind, Manifest, ObjectKey
from fastserve.api.state import ModelState, RouterState, VersionState
from fastserve.planning.objects.decision import ObjectPlan
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.objects.reading import Raw, read_observed
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.status import pool_status, sub_model_status

NOW = "2026-11-21T07:00:00Z"
SETTINGS = ObjectSettings(ImageSet("localhost/fastserve-router:0.1.0", "localhost/fastserve-triton:0.1.0"))
KEY = ObjectKey("desk", "news")
Say = Callable[[ObjectPlan], tuple[Manifest, RouterState | None]]


@dataclass(frozen=True)
class Pair:
    """A ModelPool and its SubModel, each with its status."""

    pool: Manifest
    sub_model: Manifest


def manifest(kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": KEY.namespace, "generation": 2, "uid": f"uid-of-{name}"}
    return {"apiVersion": "fastserve.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def pool(**spec: Any) -> Manifest:
    return manifest("ModelPool", "news", spec)


def sub_model(**spec: Any) -> Manifest:
    model = {"storageUri": "pvc://models/sport"}
    return manifest(
        "SubModel", "sport", {"poolRef": {"name": "news"}, "examples": ["a goal"], "model": model, **spec}
    )


def at(sub_model: Manifest, replicas: int) -> Manifest:
    """The sub-model with so many replicas asked for."""
    return {**sub_model, "spec": {**sub_model["spec"], "replicas": replicas}}


def pod(role: str, revision: str, conditions: dict[str, str], words: str = "") -> Manifest:
    labels = {ROLE_LABEL: role, REVISION_LABEL: revision, SUBMODEL_LABEL: "sport" if role == "member" else ""}
    told = [{"type": kind, "status": status, "message": words} for kind, status in conditions.items()]
    scheduled = conditions.get("PodScheduled") == "True"
    return {
        "metadata": {"name": f"{role}-0", "uid": f"uid-of-{role}", "labels": labels},
        "spec": {"nodeName": "node-1"} if scheduled else {},
        "status": {"conditions": told},
    }


def member(conditions: dict[str, str], model: ModelState | None = None, words: str = "") -> Say:
    """A pod of the sub-model, and what its router says: nothing where it holds no model."""

    def say(plan: ObjectPlan) -> tuple[Manifest, RouterState | None]:
        found = pod("member", plan.revisions["sport"], conditions, words)
        if model is None:
            return found, None
        held = model.model_copy(update={"digest": plan.targets["sport"].digest})
        ready = conditions.get("Ready") == "True"
        version = VersionState(
            digest=held.digest, version="1", phase=held.load.phase, active=ready, share=float(ready)
        )
        state = RouterState(
            pool="news", instance="uid-of-member", ready=ready, because="", model=held, versions=(version,)
        )
        return found, state

    return say


def door(plan: ObjectPlan) -> tuple[Manifest, RouterState | None]:
    """A stand-by router that has the route table and all prototypes, and takes requests."""
    state = RouterState(
        pool="news",
        instance="uid-of-standby",
        ready=True,
        because="",
        table_digest=plan.table_digest,
        prototypes={"sport": 1},
        prototype_keys={"sport": "key"},
    )
    return pod("standby", plan.standby_revision, {"PodScheduled": "True", "Ready": "True"}), state


def held(load: LoadProgress, failure: Failure | None = None) -> ModelState:
    return ModelState(name="sport-0", digest="", version="1", load=load, last_failure=failure)


def judged(pool: Manifest, sub_model: Manifest, *speakers: Say) -> Pair:
    """Both objects with the statuses that are written when the pods are as `speakers` say."""
    raw = Raw(KEY, pool, [sub_model])
    plan = plan_objects(read_observed(raw), SETTINGS, NOW)
    said = [speak(plan) for speak in speakers]
    states = {found["metadata"]["uid"]: state for found, state in said if state is not None}
    pods = [found for found, _ in said]
    observed = read_observed(replace(raw, pods=pods, states=states, children=_taken(plan)))
    return _with_statuses(observed, plan_objects(observed, SETTINGS, NOW))


def _taken(plan: ObjectPlan) -> dict[Kind, list[Manifest]]:
    """What is planned, as the API server has it."""
    taken: dict[Kind, list[Manifest]] = {}
    for one in plan.apply:
        metadata = {**one.manifest["metadata"], "uid": f"uid-of-{one.kind.name}-{one.name}"}
        taken.setdefault(one.kind, []).append({**one.manifest, "metadata": metadata})
    return taken


def _with_statuses(observed: Observed, plan: ObjectPlan) -> Pair:
    written = (
        pool_status(observed, plan, (), NOW),
        sub_model_status("sport", observed, plan, (), NOW),
    )
    told = [status.model_dump(mode="json", by_alias=True, exclude_none=True) for status in written]
    assert observed.pool_manifest is not None
    return Pair(
        {**observed.pool_manifest, "status": told[0]},
        {**observed.sub_model_manifests["sport"], "status": told[1]},
    )


RUNNING = {"PodScheduled": "True", "Ready": "True"}
STARTING = {"PodScheduled": "True", "Ready": "False"}
LOADED = held(LoadProgress(phase="Loaded", bytes_done=8, bytes_total=8))
SLEEPY = {"minReplicas": 0, "maxReplicas": 2}
NO_ROOM = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def scenarios() -> dict[str, Pair]:
    """One pair for each thing that can be so."""
    corrupt = Failure(reason="CheckpointInvalid", message="model.safetensors: header is cut off", time=NOW)
    failed = held(LoadProgress(phase="FailedToLoad"), corrupt)
    loading = held(LoadProgress(phase="Loading", bytes_done=4, bytes_total=8))
    awake = judged(pool(), sub_model(autoscaling=SLEEPY, replicas=1), member(RUNNING, LOADED), door)
    asleep = judged(awake.pool, at(awake.sub_model, 0), door)
    return {
        "healthy": judged(pool(), sub_model(), member(RUNNING, LOADED), door),
        "loading": judged(pool(), sub_model(), member(STARTING, loading), door),
        "pending": judged(pool(), sub_model(), member({"PodScheduled": "False"}, words=NO_ROOM), door),
        "broken": judged(pool(), sub_model(), member(STARTING, failed), door),
        "rejected": judged(pool(), sub_model(model={"storageUri": "file:///models/sport"}), door),
        "suspended": judged(pool(suspend=True), sub_model(suspend=True)),
        "new": judged(pool(), sub_model()),
        "asleep": asleep,
        "waking": judged(asleep.pool, at(asleep.sub_model, 1), member(STARTING, loading), door),
    }
