"""Where the pods of a sub-model are, and what each waits for."""

from collections.abc import Iterator

from fastserve.api.submodel import Placement, RankPlacement
from fastserve.planning.objects.conditions import shortened
from fastserve.planning.objects.failures import pod_troubles
from fastserve.planning.objects.judging import Member
from fastserve.planning.objects.pod_views import PodView
from fastserve.planning.objects.verdicts import phase_of

MAX_PLACED, MAX_RANKS = 100, 64
COARSE = 64 << 20
"""Bytes by which a rank's memory has to differ from what was told before it is told anew."""


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
        ranks=told.ranks if silent and told else _ranks(pod, told),
    )


def _version(pod: PodView) -> str:
    return ", ".join(pod.active_versions)[:128]


def _ranks(pod: PodView, before: Placement | None) -> tuple[RankPlacement, ...]:
    told = {one.rank: one.memory_bytes for one in (before.ranks if before else ())}
    # By rank: a router that tells one twice must not make a list that the API server refuses.
    ranks = {one.rank: one for one in (pod.model.ranks if pod.model else ())}
    return tuple(
        RankPlacement(
            rank=one.rank,
            device=one.device[:64],
            memory_bytes=_steady(one.memory_bytes, told.get(one.rank)),
        )
        for _, one in sorted(ranks.items())[:MAX_RANKS]
    )


def _steady(size: int, told: int | None) -> int:
    """What was told, while it is nearly true."""
    return told if told is not None and abs(size - told) < COARSE else size


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
        if image := volume.get("image"):
            yield f"image {image.get('reference')}"
