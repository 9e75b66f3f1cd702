"""Where the pods of a sub-model are, and what each waits for."""

from collections.abc import Iterator

from fastserve.api.submodel import Placement, RankPlacement
from fastserve.planning.objects.conditions import shortened
from fastserve.planning.objects.failures import pod_troubles
from fastserve.planning.objects.judging import Member
from fastserve.planning.objects.pod_views import PodView
from fastserve.planning.objects.verdicts import phase_of

MAX_PLACED, MAX_RANKS = 100, 64
_MIB = 1 << 20
_COARSE = 64 * _MIB
"""A rank's memory is told in steps of this: its last page is no news."""


def placements(member: Member) -> tuple[Placement, ...]:
    """Its pods by name, at most a hundred."""
    told = {one.pod: one for one in (member.before.placement if member.before else ())}
    return tuple(_placement(pod, told.get(pod.name)) for pod in member.pods[:MAX_PLACED])


def _placement(pod: PodView, told: Placement | None) -> Placement:
    trouble = next((one for one in pod_troubles(pod) if not one.past), None)
    phase = phase_of(pod, failed=trouble is not None)
    # A router that was not heard this once still has the ranks and the version that it told.
    silent = pod.state is None and pod.ready and told is not None
    return Placement(
        pod=pod.name,
        node=pod.node,
        phase=phase,
        version=told.version if silent and told else _version(pod),
        message=shortened("" if phase == "Ready" else trouble.message if trouble else _waits_for(pod)),
        ranks=told.ranks if silent and told else _ranks(pod),
    )


def _version(pod: PodView) -> str:
    model = pod.model
    return model.version[:128] if model and pod.ready and model.load.phase == "Loaded" else ""


def _ranks(pod: PodView) -> tuple[RankPlacement, ...]:
    model = pod.model
    return tuple(
        RankPlacement(rank=one.rank, device=one.device[:64], memory_bytes=_rounded(one.memory_bytes))
        for one in sorted(model.ranks if model else (), key=lambda one: one.rank)[:MAX_RANKS]
    )


def _rounded(size: int) -> int:
    return (size + _COARSE // 2) // _COARSE * _COARSE


def _waits_for(pod: PodView) -> str:
    if pod.leaving:
        return "the pod ends"
    if not pod.node:
        return pod.unscheduled or "the scheduler has not seen it yet"
    if pod.state is not None:
        return pod.state.because
    creating = any(
        (status.get("state") or {}).get("waiting", {}).get("reason") == "ContainerCreating"
        for status in pod.containers
    )
    if not creating:
        return "its router does not answer yet"
    mounts = ", ".join(_mounted(pod))
    return "its containers are being made" + (f"; it mounts {mounts}" if mounts else "")


def _mounted(pod: PodView) -> Iterator[str]:
    """Volumes that somebody else has to provide; the kubelet waits for them without a word in the status."""
    for volume in (pod.raw.get("spec") or {}).get("volumes") or ():
        if secret := volume.get("secret"):
            yield f"Secret {secret.get('secretName')}"
        if claim := volume.get("persistentVolumeClaim"):
            yield f"PersistentVolumeClaim {claim.get('claimName')}"
