"""Why a sub-model is ready or not: the first rule that applies speaks.

rejected -> suspended -> ready -> name taken -> version refused -> something is wrong -> waking -> no node
-> at zero, unproved -> versions are exchanged -> old pods are still to go
-> pods are being made, fetched, loaded, proved
"""

from dataclasses import dataclass

from fastserve.api.meta import LoadProgress
from fastserve.planning.objects.conditions import listed, with_pod
from fastserve.planning.objects.judging import NOT_PROVED, SCALED_TO_ZERO, WAKING, Member
from fastserve.planning.objects.membership import WAITING_HELPS
from fastserve.planning.objects.pod_views import PodView
from fastserve.planning.plan import Rejection
from fastserve.planning.quantities import MAX_QUANTITY

VERSION_REFUSED, SCALING_UP = "VersionRefused", "ScalingUp"
PHASES = ("FailedToLoad", "Pending", "Fetching", "Loading", "Loaded")
"""How far loading has come, the least advanced first."""
_STEP = 50
"""Parts in which the bytes of a load are told: a status that moved with every byte would be written with
every look."""
_UNKNOWN_STEP = 64 << 20


@dataclass(frozen=True)
class Verdict:
    """Whether it is ready, and why. `under_way`: it comes by itself; `stalled`: waiting will not help."""

    ready: bool
    reason: str
    message: str
    under_way: bool = False
    stalled: bool = False


def verdict(member: Member, pool_rejection: Rejection | None = None) -> Verdict:
    """The one sentence on a sub-model."""
    if member.rejection is not None:
        waits = member.rejection.reason in WAITING_HELPS
        return Verdict(
            False, member.rejection.reason, member.rejection.message, under_way=waits, stalled=not waits
        )
    if member.suspended:
        return Verdict(False, "Suspended", _suspended(member))
    # Of a rejected pool no exchange goes on, and no Deployment comes: nothing is written.
    stands = member.exchanging is None and member.deployment is not None
    if member.ready and (pool_rejection is None or stands):
        return _ready(member)
    if pool_rejection is not None:
        return Verdict(False, "PoolRejected", f"its pool is rejected: {pool_rejection.message}")
    return _not_ready(member)


def _ready(member: Member) -> Verdict:
    if member.replicas == 0:
        what = "revision" if member.was_proved else "spec, before its pool changed"
        message = f"no replicas are wanted; an inference was answered with this {what}"
        return Verdict(True, SCALED_TO_ZERO, message)
    if member.exchanging is not None:
        message = f"{len(member.answering)} of {member.replicas} replicas take requests"
        return Verdict(True, "InferenceAnswered", message)
    return Verdict(True, "InferenceAnswered", _count(member))


def _not_ready(member: Member) -> Verdict:
    found = _wrong(member)
    if found is not None:
        return found
    if member.waking:
        words = member.unscheduled or _loading(member)[1]
        return Verdict(False, WAKING, f"it is being woken: {words}; {_count(member)}", under_way=True)
    if member.unscheduled:
        return Verdict(False, "Unschedulable", member.unscheduled, under_way=True)
    if member.replicas == 0 and not member.staying:
        return Verdict(
            False,
            NOT_PROVED,
            "no replicas are wanted, and no inference was ever answered with it",
        )
    return _coming(member)


def _wrong(member: Member) -> Verdict | None:
    """What is wrong, where something is."""
    if member.refusal is not None and member.exchange is not None and member.hopeless_write is None:
        return Verdict(False, VERSION_REFUSED, member.exchange.because, stalled=True)
    trouble = member.hopeless_write or member.trouble
    if trouble is None:
        return None
    stalled, message = member.stalled, with_pod(trouble.message, trouble.pod)
    return Verdict(False, trouble.reason, message, under_way=not stalled, stalled=stalled)


def _coming(member: Member) -> Verdict:
    """What is still to be waited for."""
    if member.exchanging is not None and member.current and not member.old:
        return Verdict(False, member.exchanging.phase, member.exchanging.because, under_way=True)
    if member.old:
        names = listed({pod.revision for pod in member.old})
        message = f"revision {member.revision} takes the place of {names}; {_count(member)}"
        return Verdict(False, "RolloutInProgress", message, under_way=True)
    if len(member.current) > member.replicas:
        return Verdict(False, "ScalingDown", f"{member.replicas} replicas are wanted", under_way=True)
    reason, message = _loading(member)
    return Verdict(False, reason, f"{message}; {_count(member)}", under_way=True)


def _count(member: Member) -> str:
    proved = min(len(member.proved), member.replicas)
    return f"{proved} of {member.replicas} replicas answered an inference"


def _loading(member: Member) -> tuple[str, str]:
    if not member.current or member.deployment is None:
        return _missing(member)
    load = progress(member)
    phase = load.phase if load else "Pending"
    words = {
        "FailedToLoad": ("LoadFailed", "the model could not be loaded and is tried again"),
        "Pending": ("PodsStarting", "the pods start"),
        "Fetching": ("Fetching", "the model is being fetched"),
        "Loading": ("Loading", "the model is being loaded"),
        "Loaded": ("NotReady", "the model is loaded and does not answer yet"),
    }
    return words[phase]


def _missing(member: Member) -> tuple[str, str]:
    ending = {pod.revision for pod in member.pods if pod.revision != member.revision}
    if ending and member.deployment is None:
        message = f"revision {member.revision} comes when the pods of {listed(ending)} have ended"
        return "RolloutInProgress", message
    return "PodsMissing", "the pods are being made"


def scaling_up(member: Member) -> str:
    """What is said of a scaled sub-model that is ready while more of its replicas come; else empty."""
    comes = member.staff is not None and member.ready and len(member.proved) < member.replicas
    return _count(member) if comes else ""


def _suspended(member: Member) -> str:
    return "it is suspended; its last pods end" if member.staying else "it is suspended and runs no pods"


def progress(member: Member) -> LoadProgress | None:
    """How far loading has come: the least advanced pod's phase, the bytes of all pods. None where no router
    has told anything and nothing is to run."""
    loads = [pod.load for pod in member.current if pod.load is not None]
    if member.replicas == 0:
        return None
    if not loads:
        told = member.before.load if member.before else None
        return told if told and any(pod.ready for pod in member.current) else LoadProgress()
    total = min(MAX_QUANTITY, sum(load.bytes_total for load in loads))
    done = min(MAX_QUANTITY, sum(load.bytes_done for load in loads))
    silent = len(loads) < member.replicas
    phases = [load.phase for load in loads] + (["Pending"] if silent and not member.ready else [])
    return LoadProgress(
        phase=min(phases, key=PHASES.index), bytes_done=_in_steps(done, total), bytes_total=total
    )


def _in_steps(done: int, total: int) -> int:
    if total and done >= total:
        return done
    step = max(1, total // _STEP) if total else _UNKNOWN_STEP
    return done - done % step


def phase_of(pod: PodView, *, failed: bool) -> str:
    """Pending, Fetching, Loading, Ready, Failed or Terminating."""
    if pod.leaving:
        return "Terminating"
    if pod.ready:
        return "Ready"
    if failed or (pod.load is not None and pod.load.phase == "FailedToLoad"):
        return "Failed"
    if pod.load is None:
        return "Pending"
    return {"Pending": "Pending", "Fetching": "Fetching"}.get(pod.load.phase, "Loading")
