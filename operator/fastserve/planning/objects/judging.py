"""What is so with one sub-model: everything that its status, its pool's status and the next look need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastserve.api.meta import LoadProgress
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import DEPLOYMENT, Manifest
from fastserve.api.routes import Refused, Target
from fastserve.api.scaling import ScalingState, Staff
from fastserve.api.submodel import SubModel, SubModelStatus
from fastserve.planning.moments import Moment, seconds_between
from fastserve.planning.objects.children import deployments_of
from fastserve.planning.objects.conditions import find, shortened
from fastserve.planning.objects.decision import ObjectPlan, WriteFailure
from fastserve.planning.objects.drift import applied_at
from fastserve.planning.objects.failures import (
    FOREIGN_OBJECT,
    HOPELESS,
    INVALID_POD_TEMPLATE,
    Trouble,
    deployment_trouble,
    ended_trouble,
    pod_troubles,
)
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.owners import uid_of
from fastserve.planning.objects.pod_views import PodView, ended_pods, member_pods
from fastserve.planning.objects.reading import read_status
from fastserve.planning.objects.template import own_revision
from fastserve.planning.objects.wanting import replicas_of, running, suspended
from fastserve.planning.plan import Rejection
from fastserve.planning.staffing import staff_of
from fastserve.planning.versions.deciding import refusal_of
from fastserve.planning.versions.words import Decision, Phase

POD_TEMPLATE = "spec.podTemplate"
UNDER_WAY = (Phase.HOT_SWAP, Phase.CANARY, Phase.RETURNING, Phase.PAUSED, Phase.WAITING)
"""Phases of an exchange that something, or somebody, still has to end."""
SCALED_TO_ZERO, NOT_PROVED, WAKING = "ScaledToZero", "NotProved", "Waking"
"""Reasons of a sub-model at zero, and of one that comes back from there."""
WAKING_SECONDS = 600.0
"""Who takes longer to wake is in trouble, whatever the trouble."""


@dataclass(frozen=True)
class Member:
    """One sub-model. `replicas` are those that are to run now; `revision` is empty and `target` None where
    nothing is wanted of it; `own_revision` is what it says itself of its pods. `exchange` is the decision on
    its versions, None where there was none to be made, and `may_be_away` how many replicas may exchange at
    once. `pods` are all that have not ended, `troubles` sorted, the most telling first; `unwritten` tells
    that the API server did not take all of its objects. `autoscaled` where its spec asks for it, `staff`
    where it is scaled now, `scaling` what the router says that scales the pool; `late` where its Deployment
    was told long ago to run pods."""

    name: str
    generation: int
    before: SubModelStatus | None
    rejection: Rejection | None
    suspended: bool
    replicas: int
    revision: str
    own_revision: str
    target: Target | None
    exchange: Decision | None
    may_be_away: int
    pods: tuple[PodView, ...]
    troubles: tuple[Trouble, ...]
    deployment: Manifest | None
    unwritten: bool
    autoscaled: bool = False
    staff: Staff | None = None
    scaling: ScalingState | None = None
    late: bool = False

    @property
    def current(self) -> tuple[PodView, ...]:
        """Pods of the wanted revision that stay."""
        return tuple(pod for pod in self.pods if pod.revision == self.revision and not pod.leaving)

    @property
    def staying(self) -> tuple[PodView, ...]:
        return tuple(pod for pod in self.pods if not pod.leaving)

    @property
    def answering(self) -> tuple[PodView, ...]:
        """Pods that take requests, with whatever version."""
        return tuple(pod for pod in self.pods if pod.ready)

    @property
    def proof(self) -> str:
        """Identity of what is to be proved by an inference: revision, own revision and version."""
        if not self.target or not self.revision:
            return ""
        return f"{self.revision}/{self.own_revision}/{self.target.digest[:16]}"

    @property
    def proved(self) -> tuple[PodView, ...]:
        """Pods of the wanted revision that answered an inference with the wanted version."""
        return tuple(pod for pod in self.current if self._is_proved(pod))

    @property
    def old(self) -> tuple[PodView, ...]:
        """Pods of other revisions that still stay."""
        return tuple(pod for pod in self.staying if pod.revision != self.revision)

    @property
    def was_proved(self) -> bool:
        """Whether an inference was ever answered with exactly this, here or before."""
        return bool(self.proof) and (
            bool(self.proved) or (self.before is not None and self.before.proved_revision == self.proof)
        )

    @property
    def known_good(self) -> bool:
        """Whether it was proved; or, of one that is scaled, was before its pool changed what pods are made
        of: these prove themselves when it is woken, and no sleeper is to be woken for a change of its
        pool."""
        if self.was_proved or self.staff is None or self.before is None or not self.proof:
            return self.was_proved
        return self.before.proved_revision.partition("/")[2] == self.proof.partition("/")[2]

    @property
    def ready(self) -> bool:
        """Whether it is at its spec, and an inference was answered there."""
        if self.rejection is not None or self.suspended or self.target is None or self.unwritten:
            return False
        # Where there are pods they are those of an older life, and about to go with it.
        if self.deployment is None and (self.replicas or self.staying):
            return False
        if self.refusal is not None:
            return False
        if self.replicas == 0:
            return self.known_good and (self.staff is not None or not self.staying)
        if self.exchanging is not None:
            return self._goes_on
        return self.complete or self._enough

    @property
    def complete(self) -> bool:
        """Whether all replicas that are wanted are there, and no others, and each is proved."""
        return len(self.proved) >= self.replicas and len(self.current) == self.replicas and not self.old

    @property
    def asleep(self) -> bool:
        """Whether it rests at zero, and a request would wake it."""
        return self.ready and self.replicas == 0 and self.staff is not None

    @property
    def waking(self) -> bool:
        """Whether it comes back from zero, and no replica answered yet; where that takes all too long, it is
        no different from others that do not come."""
        before = find(self.before.conditions, "Ready") if self.before is not None else None
        from_zero = before is not None and before.reason in (SCALED_TO_ZERO, NOT_PROVED, WAKING)
        return self.staff is not None and self.replicas > 0 and from_zero and not (self.proved or self.late)

    @property
    def exchanging(self) -> Decision | None:
        """The exchange of versions that is under way, or waits."""
        found = self.exchange
        return found if found is not None and found.phase in UNDER_WAY and not self.suspended else None

    @property
    def refusal(self) -> Refused | None:
        """Why the version that is asked for is not tried, where it is not."""
        if self.exchange is None or self.exchange.phase is not Phase.REFUSED or self.target is None:
            return None
        return refusal_of(self.exchange.member, self.target.digest)

    @property
    def _goes_on(self) -> bool:
        """Whether its replicas answer, with one version or the other, but for those that exchange."""
        answering = sum(pod.ready for pod in self.current)
        if self.staff is not None:
            return answering >= max(1, self._least - self.may_be_away) and not self.old
        enough = answering >= max(1, self.replicas - self.may_be_away)
        return enough and len(self.current) == self.replicas and not self.old

    @property
    def _enough(self) -> bool:
        """Whether, of one that is scaled, as many replicas are proved as its user wants at the least, while
        others come or go and nothing is wrong."""
        scaled = self.staff is not None and self.trouble is None
        return scaled and len(self.proved) >= self._least and not self.old

    @property
    def _least(self) -> int:
        return max(1, min(self.staff.least, self.replicas)) if self.staff is not None else self.replicas

    @property
    def hopeless_write(self) -> Trouble | None:
        """What the API server will not let us make, whatever we wait."""
        return next((one for one in self.troubles if one.reason == FOREIGN_OBJECT), None)

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong now, the most telling."""
        return next((one for one in self.troubles if not one.past), None)

    @property
    def stalled(self) -> bool:
        return not self.ready and self.trouble is not None and self.trouble.reason in HOPELESS

    @property
    def unscheduled(self) -> str:
        """The scheduler's own words on the first pod that has no node."""
        return next((pod.unscheduled for pod in self.current if pod.unscheduled and not pod.node), "")

    def _is_proved(self, pod: PodView) -> bool:
        if self.target is None:
            return False
        if pod.state is None and pod.ready and self.before and self.before.proved_revision == self.proof:
            # It answered before, and the kubelet says that it still does: one unheard word is no news.
            return any(one.pod == pod.name and one.phase == "Ready" for one in self.before.placement)
        return pod.answers_with(self.target.digest)


def judge(
    name: str, observed: Observed, plan: ObjectPlan, failures: Sequence[WriteFailure], now: Moment
) -> Member:
    """Everything about one sub-model that names the pool and is not being deleted."""
    manifest, sub_model = observed.sub_model_manifests[name], observed.sub_models.get(name)
    pool = observed.pool
    refused = [one for one in (*plan.foreign, *failures) if one.sub_model == name]
    revision = plan.revisions.get(name, "")
    live = deployments_of(observed, uid_of(manifest)).get(revision)
    target = plan.targets.get(name)
    exchange = plan.exchanges.get(name)
    digests = _digests(target, exchange)
    pods = tuple(_up_to_date(pod, digests) for pod in member_pods(observed, name))
    return Member(
        name=name,
        generation=int(manifest["metadata"].get("generation", 0)),
        before=read_status(manifest, SubModelStatus),
        rejection=plan.rejected.get(name) or template_rejection(refused),
        suspended=suspended(observed, name) and observed.pool_manifest is not None,
        replicas=replicas_of(pool, sub_model) if target and sub_model and pool else 0,
        revision=revision,
        own_revision=own_revision(sub_model) if sub_model else "",
        target=target,
        exchange=exchange,
        may_be_away=sub_model.spec.rollout.max_unavailable if sub_model else 0,
        pods=pods,
        troubles=_troubles(_relevant(pods, revision), ended_pods(observed, name), live, refused),
        deployment=live,
        unwritten=bool(refused),
        autoscaled=(manifest.get("spec") or {}).get("autoscaling") is not None,
        staff=_staff(pool, sub_model),
        scaling=observed.scaling,
        late=_late(live, now),
    )


def _late(deployment: Manifest | None, now: Moment) -> bool:
    """Whether it was told so long ago to run pods."""
    if deployment is None or not deployment.get("spec", {}).get("replicas"):
        return False
    return seconds_between(applied_at(deployment), now) > WAKING_SECONDS


def _staff(pool: ModelPool | None, sub_model: SubModel | None) -> Staff | None:
    if pool is None or sub_model is None or not running(pool, sub_model):
        return None
    return staff_of(sub_model, sub_model.spec.replicas)


def _digests(target: Target | None, exchange: Decision | None) -> frozenset[str]:
    """The versions that a router may be about: the asked one, the stable one, the candidate."""
    found = [target] if target else []
    if exchange is not None:
        found.append(exchange.member.target)
        found += [exchange.member.rollout.candidate] if exchange.member.rollout else []
    return frozenset(one.digest for one in found)


def _up_to_date(pod: PodView, digests: frozenset[str]) -> PodView:
    """The pod without what its router still says of a version that is not wanted any more: that an earlier
    spec could not be loaded is no word on this one."""
    state, model = pod.state, pod.model
    if state is None or model is None or not digests:
        return pod
    if pod.ready:  # it answers, with whatever version
        if model.target_digest in ("", *digests):
            return pod
        waits = model.model_copy(update={"last_failure": None, "load": LoadProgress()})
        return PodView(pod.raw, state.model_copy(update={"model": waits}))
    if (model.target_digest or model.digest) in digests:
        return pod
    told = {"model": None, "because": "it has not taken up the new version yet"}
    return PodView(pod.raw, state.model_copy(update=told))


def judge_all(
    observed: Observed, plan: ObjectPlan, failures: Sequence[WriteFailure], now: Moment
) -> Mapping[str, Member]:
    """Every sub-model that names the pool and is not being deleted, by name."""
    names = sorted({*observed.sub_models, *observed.unreadable})
    return {name: judge(name, observed, plan, failures, now) for name in names}


def template_rejection(refused: Sequence[WriteFailure]) -> Rejection | None:
    """Where the API server finds fault with what a user wrote for pods, that is a fault of the spec."""
    for one in sorted(refused, key=lambda one: (one.name, one.message)):
        if one.kind == DEPLOYMENT and not one.foreign and "spec.template." in one.message:
            message = f"{POD_TEMPLATE}: the API server refuses the pods: {shortened(one.message, 900)}"
            return Rejection(INVALID_POD_TEMPLATE, POD_TEMPLATE, message)
    return None


def write_troubles(refused: Sequence[WriteFailure]) -> list[Trouble]:
    """What the API server would not take, as something that is wrong."""
    return [
        Trouble(
            False, 0 if one.foreign else 3, "", FOREIGN_OBJECT if one.foreign else one.reason, one.message
        )
        for one in refused
    ]


def _relevant(pods: Sequence[PodView], revision: str) -> tuple[PodView, ...]:
    """Pods whose troubles are the sub-model's: those of the wanted revision, where one is wanted."""
    return tuple(pod for pod in pods if not pod.leaving and (not revision or pod.revision == revision))


def _troubles(
    pods: Sequence[PodView],
    ended: Sequence[PodView],
    deployment: Manifest | None,
    refused: Sequence[WriteFailure],
) -> tuple[Trouble, ...]:
    found = [one for pod in pods for one in pod_troubles(pod)]
    found += [ended_trouble(pod) for pod in ended]
    found += deployment_trouble(deployment) if deployment else ()
    return tuple(sorted([*found, *write_troubles(refused)]))
