"""A pretend cluster whose routers exchange versions, well or badly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastserve.api.meta import Failure
from fastserve.api.objects import CONFIG_MAP, Manifest
from fastserve.api.routes import Member, RouteTable, Target
from fastserve.api.state import RouterState, VersionState
from fastserve.api.submodel import SubModelStatus
from fastserve.planning.objects.happenings import events
from fastserve.planning.objects.reading import read_status
from pretend_cluster import PretendCluster, state_of, sub_model_manifest

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class SwappingCluster(PretendCluster):
    """Its routers load at once what the table names them for; `faults` are versions that fail, with their
    reason, `slow` those that never finish loading."""

    faults: Mapping[str, str] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    def _state(self, pod: Manifest) -> RouterState:
        said = state_of(pod, self.table)
        member = next((one for one in self.table.members if one.name == said.member), None)
        if member is None:
            return said
        return said.model_copy(update={"versions": tuple(self._versions(member, said.instance))})

    def _versions(self, member: Member, instance: str) -> list[VersionState]:
        rollout = member.rollout
        if rollout is None or instance not in rollout.named:
            return [_loaded(member.target, 1.0)]
        before = self.states.get(instance)
        if rollout.paused and before is not None and before.versions:
            return list(before.versions)
        candidate, share = rollout.candidate, float(rollout.share)
        if candidate.version in self.faults:
            reason = self.faults[candidate.version]
            failure = Failure(reason=reason, message="it is no good", time="2026-01-01T00:00:00Z")
            away = {"phase": "FailedToLoad", "last_failure": failure, "generation": rollout.generation}
            return [_loaded(member.target, 1.0), _loaded(candidate, 0.0).model_copy(update=away)]
        if candidate.version in self.slow:
            return [_loaded(member.target, 1.0)]
        stable = [_loaded(member.target, 1 - share)] if share < 1 else []
        return [*stable, _loaded(candidate, share)]

    @property
    def table(self) -> RouteTable:
        text = self.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"]
        return RouteTable.model_validate_json(text)

    @property
    def member(self) -> Member:
        return self.table.members[0]

    def pass_time(self, seconds: int) -> "SwappingCluster":
        """Look every second."""
        for _ in range(seconds):
            self.seconds += 1
            before = read_status(self.sub_models["sport"], SubModelStatus)
            self.look(now=(START + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"))
            self.run()
            after = read_status(self.sub_models["sport"], SubModelStatus)
            assert after is not None
            self.told += [one.reason for one in events(before, after)]
        return self

    def ask(self, version: str, **rollout: Any) -> "SwappingCluster":
        spec = self.sub_models["sport"]
        spec["spec"]["model"]["version"] = version
        spec["spec"]["rollout"] = rollout
        spec["metadata"]["generation"] += 1
        return self

    def wait(self) -> float | None:
        now = (START + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.plan(now=now).recheck_after


def _loaded(target: Target, share: float) -> VersionState:
    return VersionState(
        digest=target.digest, version=target.version, phase="Loaded", active=share > 0, share=share
    )


def serving(**spec: Any) -> SwappingCluster:
    cluster = SwappingCluster().add(sub_model_manifest("sport", **spec))
    assert isinstance(cluster, SwappingCluster)
    cluster.settle()
    cluster.told.clear()
    return cluster


def exchanging(**spec: Any) -> SwappingCluster:
    """It is asked for v2, which never finishes loading."""
    cluster = serving(**spec)
    cluster.slow = frozenset({"v2"})
    return cluster.ask("v2").pass_time(3)
