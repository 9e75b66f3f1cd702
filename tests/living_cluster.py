"""A pretend cluster whose routers take their time: they leave for lack of room, fail, die, and come anew."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from fastserve.api.identity import REVISION_LABEL
from fastserve.api.objects import CONFIG_MAP, DEPLOYMENT, Manifest
from fastserve.api.routes import Member, RouteTable
from fastserve.planning.objects.rollout import ALL_AVAILABLE
from pretend_cluster import PretendCluster, sub_model_manifest
from pretend_versions import START, PretendRouter

TABLE = (CONFIG_MAP, "news-p-routes")
QUIET_SECONDS = 15.0
"""After something died or was made anew, until everybody may be expected back."""


@dataclass
class LivingCluster(PretendCluster):
    """`routers` by their pods' uids, `bad` digests that cannot be loaded; `deaf` are uids that the operator
    does not hear. `left` are those that took requests and left for lack of room."""

    roomy: bool = False
    routers: dict[str, PretendRouter] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    seconds: float = 0.0
    shaken: float = 0.0
    """When something last happened to pods that is not the operator's doing."""
    was: Member | None = None
    made: int = 0

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.sub_models["sport"]["spec"]
        return spec

    @property
    def member(self) -> Member:
        if TABLE not in self.children:  # routers go on with the table that they read last
            assert self.was is not None
            return self.was
        text = self.children[TABLE]["data"]["routes.json"]
        (self.was,) = RouteTable.model_validate_json(text).members
        return self.was

    def change(self, **spec: Any) -> None:
        self.spec.update(spec)
        self.sub_models["sport"]["metadata"]["generation"] += 1

    def ask(self, version: str, *, bad: bool = False) -> None:
        self.change(model={"storageUri": "s3://models/sport", "version": version})
        if bad:
            self.bad[self.digest] = "CheckpointInvalid"

    @property
    def digest(self) -> str:
        """Of the version that is asked for."""
        return self.plan().targets["sport"].digest

    def shake(self) -> None:
        self.shaken = self.seconds

    def pass_time(self, seconds: int, *, operator: bool = True) -> None:
        for _ in range(seconds):
            self.seconds += 1
            if operator:
                now = START + timedelta(seconds=self.seconds)
                self.look(now=now.strftime("%Y-%m-%dT%H:%M:%SZ"))
            self.run()
            self.check()

    def run(self) -> bool:
        self.make_pods()
        self.states = {}
        for pod in self.pods_of("sport"):
            self._live(pod)
        uids = {pod["metadata"]["uid"] for pod in self.pods_of("sport")}
        self.routers = {uid: router for uid, router in self.routers.items() if uid in uids}
        self.left &= uids
        for (kind, _), deployment in self.children.items():
            if kind == DEPLOYMENT and "sport" in deployment["metadata"]["name"]:
                self._count(deployment)
        return True

    def _live(self, pod: Manifest) -> None:
        uid = pod["metadata"]["uid"]
        router = self.routers.setdefault(uid, PretendRouter(uid, roomy=self.roomy, bad=self.bad))
        before, alive = bool(router.loaded), self.seconds >= router.dead_until
        router.step(self.member, self.seconds)
        if before and not router.loaded and alive:
            self.left.add(uid)
        if router.loaded or not alive:
            self.left.discard(uid)
        heard = router.heard(self.member, self.seconds)
        pod["status"]["conditions"] = [{"type": "Ready", "status": str(heard.ready)}]
        if heard.state is not None and uid not in self.deaf:
            self.states[uid] = heard.state

    def _count(self, deployment: Manifest) -> None:
        revision = deployment["metadata"]["labels"][REVISION_LABEL]
        ready = sum(
            self.is_ready(pod)
            for pod in self.pods_of("sport")
            if pod["metadata"]["labels"][REVISION_LABEL] == revision
        )
        whole = ready >= deployment["spec"]["replicas"]
        status = deployment["status"]
        status["availableReplicas"] = ready
        if whole:
            status["conditions"] = [{"type": "Progressing", "status": "True", "reason": ALL_AVAILABLE}]

    def is_ready(self, pod: Manifest) -> bool:
        return bool(pod["status"]["conditions"][0]["status"] == "True")

    @property
    def ready(self) -> int:
        return sum(self.is_ready(pod) for pod in self.pods_of("sport"))

    def answer_wholly(self, digest: str) -> int:
        told = [router.heard(self.member, self.seconds) for router in self.routers.values()]
        return sum(one.answers_wholly(digest) for one in told)

    def check(self) -> None:
        """What holds at every moment."""
        may_be_away = self.spec["rollout"]["maxUnavailable"]
        assert len(self.left) <= may_be_away, f"{self.left} left for lack of room"
        # Where nobody runs a version is taken at once, also one that turns out to be bad.
        hopeless = self.member.target.digest in self.bad and self.member.rollout is None
        quiet = self.seconds - self.shaken > QUIET_SECONDS
        if quiet and not hopeless and not self.spec.get("suspend"):
            assert self.ready >= self.spec["replicas"] - may_be_away, "nothing died, and too many are away"


def living(replicas: int, may_be_away: int, *, roomy: bool) -> LivingCluster:
    """At rest with version a."""
    manifest = sub_model_manifest("sport", replicas=replicas, rollout=rules(may_be_away))
    manifest["spec"]["model"]["version"] = "a"
    cluster = LivingCluster(roomy=roomy)
    cluster.add(manifest)
    cluster.pass_time(12)
    assert cluster.answer_wholly(cluster.digest) == replicas
    return cluster


def rules(may_be_away: int, **more: Any) -> dict[str, Any]:
    return {"maxUnavailable": may_be_away, "progressDeadlineSeconds": 3000, **more}
