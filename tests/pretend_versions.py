"""Routers that exchange versions in virtual time, well or badly, and the one who decides for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastserve.api.meta import Failure
from fastserve.api.routes import EngineTarget, Meaning, Member, Target
from fastserve.api.state import RouterState, VersionState
from fastserve.api.versions import RolloutPolicy
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Asked, Decision, Heard

START = datetime(2026, 11, 21, 6, 0, 0, 250_000, tzinfo=UTC)
"""Not a whole second: moments in the table are."""


def target(version: str) -> Target:
    return Target(
        digest=version * 64,
        model_name=f"world-{version * 8}",
        version=version,
        storage_uri=f"s3://models/{version}",
        files={},
        engine=EngineTarget(devices=("cpu",), python="python"),
    )


def member(version: str, generation: int = 1, **fields: Any) -> Member:
    return Member(
        name="world",
        meaning=Meaning(digest="0" * 64),
        target=target(version),
        generation=generation,
        asked=f"spec {generation}",
        **fields,
    )


def policy(**fields: Any) -> RolloutPolicy:
    """``policy(canary={"share": "0.1"})``: fields as users write them."""
    return RolloutPolicy.model_validate(fields)


def told(version: str, **fields: Any) -> VersionState:
    """A version that takes all requests, but for what `fields` say."""
    whole = {"phase": "Loaded", "active": True, "share": 1.0, **fields}
    return VersionState(digest=version if len(version) == 64 else version * 64, version=version, **whole)


def key_of(one: Target) -> str:
    """What pretend routers know a version by: its letter, or the digest of a real one."""
    return one.version if one.digest == one.version * 64 else one.digest


def failed(version: str, generation: int, reason: str = "CheckpointInvalid", **fields: Any) -> VersionState:
    failure = Failure(reason=reason, message="it is no good", time="2026-11-21T06:00:00Z")
    away = {"phase": "FailedToLoad", "active": False, "share": 0.0, "last_failure": failure}
    return told(version, generation=generation, **{**away, **fields})


def heard(name: str, *versions: VersionState, ready: bool = True) -> Heard:
    state = RouterState(
        pool="news", instance=name, member="world", ready=ready, because="", versions=versions
    )
    return Heard(name, state, ready)


@dataclass
class PretendRouter:
    """One replica. `load_seconds` is how long a load takes; `bad` are versions that fail to load, with their
    reason; `roomy` whether two fit; from `dead_until` on it is there again; `mute` it says nothing."""

    name: str
    load_seconds: float = 3.0
    roomy: bool = True
    mute: bool = False
    bad: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)
    """Versions in Triton, and the generation that each was loaded for."""
    failures: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """By version: generation, loads in a row, reason."""
    loading: tuple[str, float] | None = None
    share: float = 1.0
    dead_until: float = 0.0

    def step(self, table: Member, now: float) -> None:
        """Do what the table says, one thing at a time."""
        if now < self.dead_until:
            self.loaded, self.loading = {}, None
            return
        rollout = table.rollout
        if rollout is not None and rollout.paused and self.name in rollout.named and self.loaded:
            return
        wanted, generation = self._wanted(table)
        self._load(wanted, generation, now)
        self.share = float(rollout.share) if rollout and wanted == key_of(rollout.candidate) else 1.0
        if wanted in self.loaded and self.share == 1.0:
            self.loaded = {wanted: self.loaded[wanted]}

    def _wanted(self, table: Member) -> tuple[str, int]:
        rollout = table.rollout
        if rollout is not None and self.name in rollout.named:
            failure = self.failures.get(key_of(rollout.candidate))
            # Where the stable version is gone there is nothing to fall back on but loading it again.
            if failure is None or failure[0] != rollout.generation:
                return key_of(rollout.candidate), rollout.generation
        return key_of(table.target), 0

    def _load(self, wanted: str, generation: int, now: float) -> None:
        if wanted in self.loaded:
            self.loading = None
            return
        if self.loading is None or self.loading[0] != wanted:
            self.loading = (wanted, now + self.load_seconds)
            if not self.roomy:
                self.loaded = {}
        if now < self.loading[1]:
            return
        self.loading = None
        if wanted in self.bad:
            before = self.failures.get(wanted, (generation, 0, ""))
            self.failures[wanted] = (generation, before[1] + 1, self.bad[wanted])
        else:
            self.loaded[wanted] = generation

    def heard(self, table: Member, now: float) -> Heard:
        ready = now >= self.dead_until and bool(self.loaded)
        if self.mute or now < self.dead_until:
            return Heard(self.name, None, ready)
        wanted, _ = self._wanted(table)
        active = wanted if wanted in self.loaded else next(iter(self.loaded), "")
        versions = [
            told(
                version,
                generation=generation,
                active=version == active or self.share < 1,
                share=self.share if version == active else 1 - self.share,
                **self.figures.get(version, {}),
            )
            for version, generation in self.loaded.items()
        ]
        versions += [
            failed(version, generation, reason, failed_loads=count)
            for version, (generation, count, reason) in self.failures.items()
            if version not in self.loaded
        ]
        if self.loading is not None:
            versions.append(told(self.loading[0], phase="Loading", active=False, share=0.0))
        return heard(self.name, *versions, ready=ready)


@dataclass
class PretendPool:
    """Replicas and a table; `ask` changes what is wanted, `run` lets time pass."""

    routers: list[PretendRouter]
    asked: Asked
    table: Member | None = None
    seconds: float = 0.0
    history: list[tuple[float, Decision]] = field(default_factory=list)
    heard_then: list[list[Heard]] = field(default_factory=list)
    """What each decision of the history was made from."""

    @staticmethod
    def serving(version: str, routers: Sequence[PretendRouter], rules: RolloutPolicy) -> "PretendPool":
        """A pool at rest with this version on all replicas."""
        for router in routers:
            router.loaded = {version: 0}
        made = PretendPool(list(routers), Asked(member(version), rules, len(routers)))
        made.run(2)
        return made

    def ask(self, version: str, **rules: Any) -> None:
        generation = self.asked.wanted.generation + 1
        chosen = policy(**rules) if rules else self.asked.policy
        self.asked = Asked(member(version, generation), chosen, len(self.routers))

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def hear(self) -> list[Heard]:
        if self.table is None:
            return [Heard(router.name, None, ready=False) for router in self.routers]
        return [router.heard(self.table, self.seconds) for router in self.routers]

    def look(self) -> Decision:
        return self._decide(self.table, self.hear())

    def lose_table(self) -> Decision:
        """Routers go on as they are, and who looks next finds no table."""
        return self._decide(None, self.hear())

    def _decide(self, table: Member | None, told: list[Heard]) -> Decision:
        decision = next_member(table, self.asked, told, self.now)
        self.table = decision.member
        self.heard_then.append(told)
        self.history.append((self.seconds, decision))
        return decision

    def run(self, seconds: float, tick: float = 1.0) -> Decision:
        """Let that much time pass, with a look and a step of every router at each tick."""
        decision = self.look()
        until = self.seconds + seconds
        while self.seconds < until:
            for router in self.routers:
                router.step(decision.member, self.seconds)
            self.seconds += tick
            decision = self.look()
        return decision

    def answers(self, version: str) -> int:
        """Replicas that answer wholly with it."""
        return sum(one.answers_wholly(version * 64) for one in self.hear())
