"""A cluster in memory, for the operator's pure circle: an API server that notes who owns which field as
server-side apply does, controllers that make pods, and routers that answer. Everything happens at once."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastserve.api.identity import FIELD_MANAGER, REVISION_LABEL, ROLE_LABEL, SUBMODEL_LABEL, digest_of
from fastserve.api.meta import LoadProgress
from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.objects import (
    CHILD_KINDS,
    CONFIG_MAP,
    DEPLOYMENT,
    MODEL_POOL,
    SUB_MODEL,
    Kind,
    Manifest,
    ObjectKey,
)
from fastserve.api.routes import Member, RouteTable, Target
from fastserve.api.state import ModelState, RankState, RouterState, VersionState
from fastserve.api.submodel import SubModelStatus
from fastserve.planning.objects.decision import ObjectPlan, WriteFailure
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.objects.reading import Raw, read_observed
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.status import pool_status, sub_model_status

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-02T00:00:00Z"
SETTINGS = ObjectSettings(ImageSet("registry.example/router:1", "registry.example/triton:1"))
NEWER_SETTINGS = ObjectSettings(ImageSet("registry.example/router:2", "registry.example/triton:2"))


def pool_manifest(name: str = "news", uid: str = "uid-pool", generation: int = 1, **spec: Any) -> Manifest:
    return {
        "apiVersion": MODEL_POOL.api_version,
        "kind": MODEL_POOL.name,
        "metadata": {"name": name, "namespace": "team", "uid": uid, "generation": generation},
        "spec": spec,
    }


def sub_model_manifest(name: str = "sport", generation: int = 1, **spec: Any) -> Manifest:
    """Fields of the spec as users write them; ``uid`` among them is the object's."""
    uid = spec.pop("uid", f"uid-{name}")
    defaults = {
        "poolRef": {"name": "news"},
        "examples": [f"a text about {name}"],
        "model": {"storageUri": f"s3://models/{name}", "version": "v1"},
    }
    return {
        "apiVersion": SUB_MODEL.api_version,
        "kind": SUB_MODEL.name,
        "metadata": {"name": name, "namespace": "team", "uid": uid, "generation": generation},
        "spec": {**defaults, **spec},
    }


@dataclass
class PretendCluster:
    """`writes` are the verbs, kinds and names of everything written so far."""

    pool: Manifest | None = field(default_factory=pool_manifest)
    sub_models: dict[str, Manifest] = field(default_factory=dict)
    children: dict[tuple[Kind, str], Manifest] = field(default_factory=dict)
    pods: dict[str, Manifest] = field(default_factory=dict)
    states: dict[str, RouterState] = field(default_factory=dict)
    config_maps: dict[str, Manifest] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    failures: tuple[WriteFailure, ...] = ()
    clock: str = "2025-12-31T00:00:00Z"
    """By which the API server notes when something was applied."""

    def add(self, *manifests: Manifest) -> "PretendCluster":
        for manifest in manifests:
            self.sub_models[manifest["metadata"]["name"]] = manifest
        return self

    def observed(self, turn: Callable[[list[Any]], list[Any]] = list) -> Observed:
        """What an operator sees; `turn` may bring every list into another order."""
        by_kind: dict[Kind, list[Manifest]] = {kind: [] for kind in CHILD_KINDS}
        for (kind, _), manifest in self.children.items():
            by_kind[kind].append(manifest)
        return read_observed(
            Raw(
                key=ObjectKey("team", "news"),
                pool=copy.deepcopy(self.pool),
                sub_models=turn(copy.deepcopy(list(self.sub_models.values()))),
                children={kind: turn(copy.deepcopy(objects)) for kind, objects in by_kind.items()},
                pods=turn(copy.deepcopy(list(self.pods.values()))),
                states=dict(self.states),
                config_maps=self.config_maps,
            )
        )

    def plan(self, settings: ObjectSettings = SETTINGS, now: str = NOW) -> ObjectPlan:
        return plan_objects(self.observed(), settings, now)

    def carry_out(self, plan: ObjectPlan) -> None:
        for one in plan.apply:
            self.apply(one.kind, one.manifest)
        for gone in plan.delete:
            assert self.children[(gone.kind, gone.name)]["metadata"]["uid"] == gone.uid
            del self.children[(gone.kind, gone.name)]
            self.writes.append(("delete", gone.kind.name, gone.name))

    def look(self, settings: ObjectSettings = SETTINGS, now: str = NOW) -> int:
        """One reconcile; how many writes it took."""
        before, observed = len(self.writes), self.observed()
        plan = plan_objects(observed, settings, now)
        self.carry_out(plan)
        self._write_statuses(observed, plan, now)
        return len(self.writes) - before

    def settle(self, settings: ObjectSettings = SETTINGS, now: str = NOW, looks: int = 12) -> int:
        """Look until nothing is written; how many looks it took."""
        for number in range(1, looks + 1):
            written = self.look(settings, now)
            moved = self.run()
            if not written and not moved:
                return number
        raise AssertionError(f"still writing after {looks} looks: {self.writes[-8:]}")

    def apply(self, kind: Kind, manifest: Manifest) -> None:
        name = manifest["metadata"]["name"]
        live = self.children.get((kind, name), {"metadata": {"uid": f"uid-of-{kind.name}-{name}"}})
        metadata = {**manifest["metadata"], "uid": live["metadata"]["uid"], "generation": 1}
        said = {key: value for key, value in manifest.items() if key not in {"apiVersion", "kind"}}
        identity = {"name", "namespace"}
        said["metadata"] = {k: v for k, v in manifest["metadata"].items() if k not in identity}
        entry = {
            "manager": FIELD_MANAGER,
            "operation": "Apply",
            "time": self.clock,
            "fieldsV1": fields_of(said),
        }
        metadata["managedFields"] = [entry]
        self.children[(kind, name)] = copy.deepcopy({**manifest, "metadata": metadata})
        self.writes.append(("apply", kind.name, name))

    def edit(self, kind: Kind, name: str, *path: str) -> None:
        """Somebody else changes the field at `path`: it is theirs from now on."""
        fields = self.children[(kind, name)]["metadata"]["managedFields"][0]["fieldsV1"]
        for key in path[:-1]:
            fields = fields[f"f:{key}"]
        del fields[f"f:{path[-1]}"]

    def _write_statuses(self, observed: Observed, plan: ObjectPlan, now: str) -> None:
        if observed.pool is not None or observed.pool_fault is not None:
            assert self.pool is not None
            self._write_status(self.pool, pool_status(observed, plan, self.failures, now))
        for name in [*observed.sub_models, *observed.unreadable]:
            self._write_status(
                self.sub_models[name], sub_model_status(name, observed, plan, self.failures, now)
            )

    def _write_status(self, manifest: Manifest, status: ModelPoolStatus | SubModelStatus) -> None:
        written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if written != manifest.get("status"):
            manifest["status"] = written
            self.writes.append(("status", manifest["kind"], manifest["metadata"]["name"]))

    def run(self) -> bool:
        """Controllers, kubelets and routers do all that they have to; whether anything changed."""
        before = copy.deepcopy((self.children, self.pods, self.states))
        self.make_pods()
        self.states = {pod["metadata"]["uid"]: self._state(pod) for pod in self.pods.values()}
        return before != (self.children, self.pods, self.states)

    def make_pods(self) -> None:
        """What controllers do about Deployments."""
        wanted: dict[str, Manifest] = {}
        for (kind, name), manifest in self.children.items():
            if kind == DEPLOYMENT:
                replicas = manifest["spec"]["replicas"]
                manifest["status"] = {"observedGeneration": 1, "availableReplicas": replicas}
                for number in range(replicas):
                    wanted[f"{name}-{number}"] = pod_of(manifest, f"{name}-{number}")
        self.pods = {name: self.pods.get(name, pod) for name, pod in wanted.items()}

    def _state(self, pod: Manifest) -> RouterState:
        text = self.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"]
        table = RouteTable.model_validate_json(text)
        return state_of(pod, table)

    def statuses(self) -> dict[str, dict[str, str]]:
        """By object: each condition's status and reason, as ``True InferenceAnswered``."""
        objects = [*([self.pool] if self.pool else []), *self.sub_models.values()]
        return {one["metadata"]["name"]: conditions_of(one) for one in objects}

    def status(self, name: str) -> dict[str, Any]:
        found = self.pool if self.pool and name == self.pool["metadata"]["name"] else self.sub_models[name]
        status: dict[str, Any] = found["status"]
        return status

    def pods_of(self, sub_model: str) -> list[Manifest]:
        return [
            p
            for _, p in sorted(self.pods.items())
            if p["metadata"]["labels"].get(SUBMODEL_LABEL) == sub_model
        ]

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for one, name in self.children if one == kind)


def conditions_of(manifest: Manifest) -> dict[str, str]:
    return {one["type"]: f"{one['status']} {one['reason']}" for one in manifest["status"]["conditions"]}


def pod_of(deployment: Manifest, name: str, **status: Any) -> Manifest:
    """A pod that runs and is ready, unless `status` says otherwise."""
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": dict(deployment["spec"]["template"]["metadata"]["labels"]),
        },
        "spec": {"nodeName": "node-a"},
        "status": {"phase": "Running", "conditions": [ready], **status},
    }


def state_of(pod: Manifest, table: RouteTable, **changes: Any) -> RouterState:
    """What the pod's router says when all is well."""
    labels = pod["metadata"]["labels"]
    name = labels.get(SUBMODEL_LABEL) if labels[ROLE_LABEL] == "member" else None
    member = next((one for one in table.members if one.name == name), None)
    target = member and _driven_at(member, pod["metadata"]["uid"])
    model = target and ModelState(
        name=target.model_name,
        digest=target.digest,
        version=target.version or f"read-{target.digest[:4]}",
        load=LoadProgress(phase="Loaded", bytes_done=100, bytes_total=100),
        ranks=tuple(
            RankState(rank=rank, pid=1, device=device, memory_bytes=1 << 30)
            for rank, device in enumerate(target.engine.devices)
        ),
    )
    said = RouterState(
        pool=table.pool,
        instance=pod["metadata"]["uid"],
        member=name,
        ready=True,
        because="it answers",
        table_digest=digest_of(table.model_dump(mode="json")),
        prototype_keys={one.name: "key" for one in table.members},
        model=model,
    )
    said = said.model_copy(update=changes)
    return said if "versions" in changes else said.model_copy(update={"versions": versions_of(said)})


def _driven_at(member: Member, instance: str) -> Target:
    rollout = member.rollout
    return rollout.candidate if rollout and instance in rollout.named else member.target


def versions_of(said: RouterState) -> tuple[VersionState, ...]:
    """The one version that its model is about."""
    model = said.model
    if model is None:
        return ()
    answers = said.ready and model.load.phase == "Loaded"
    told = VersionState(
        digest=model.digest,
        version=model.version,
        phase=model.load.phase,
        active=answers,
        share=1.0 if answers else 0.0,
        last_failure=model.last_failure,
    )
    return (told,)


def fields_of(value: Any) -> Any:
    """``fieldsV1`` of what was applied, as the API server notes it."""
    if isinstance(value, Mapping):
        return {f"f:{key}": fields_of(inner) for key, inner in value.items() if inner != []}
    return {}


def revision_of(pod: Manifest) -> str:
    return str(pod["metadata"]["labels"][REVISION_LABEL])
