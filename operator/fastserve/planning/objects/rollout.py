"""From one revision to the next: which Deployments are made, which go, and when.

    with surge      (CPU members, stand-by routers): make the new one, keep those of the old that ever
                    answered until the new one is available, then delete them; somebody always answers
    without surge   (GPU members): delete the old one, wait for its pods to end, then make the new; no GPU is
                    asked for twice. A pod whose node is lost never ends: it is not waited for for ever
    nothing to run  (at zero, suspended): make the new one, delete the old

One step per look: each step is made of what is observed, and nothing is remembered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastserve.api.objects import Manifest
from fastserve.planning.objects.owners import is_leaving

ALL_AVAILABLE: Final = "NewReplicaSetAvailable"
"""Reason of a Deployment's condition Progressing, from when its rollout was done."""


@dataclass(frozen=True)
class Course:
    """Where a workload is to come: its wanted revision and replicas, and whether the next revision may run
    beside the old one. `lingering`: pods of older revisions are still to end, whether or not their Deployment
    is still there."""

    revision: str
    replicas: int
    surge: bool
    lingering: bool = False


@dataclass(frozen=True)
class Step:
    """`make`: the wanted revision's Deployment is to be there now. `leave`: older revisions whose
    Deployments go now; `stay`: those that still serve."""

    make: bool
    leave: tuple[str, ...] = ()
    stay: tuple[str, ...] = ()


def next_step(course: Course, live: Mapping[str, Manifest]) -> Step:
    """What to do next; `live` are the workload's own Deployments by revision."""
    older = tuple(sorted(revision for revision in live if revision != course.revision))
    wanted = live.get(course.revision)
    if course.surge:
        if course.replicas == 0 or (wanted is not None and available(wanted, course.replicas)):
            return Step(make=True, leave=older)
        # One that never answered helps nobody; edit after edit they would take all the room there is.
        stay = tuple(revision for revision in older if _ever_available(live[revision]))
        return Step(make=True, leave=tuple(sorted({*older} - {*stay})), stay=stay)
    # A Deployment is gone before its pods are, and they hold their GPUs to the end.
    return Step(make=wanted is not None or not (older or course.lingering), leave=older)


def available(deployment: Manifest, replicas: int) -> bool:
    """Whether as many of its pods as wanted answer, by its controller's word on what it was last told."""
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
    return (
        seen
        and not is_leaving(deployment)
        and deployment.get("spec", {}).get("replicas", 1) >= replicas
        and status.get("availableReplicas", 0) >= replicas
    )


def _ever_available(deployment: Manifest) -> bool:
    """Whether any of its pods answers, or all did at some time: that reason stays when they are lost."""
    status = deployment.get("status") or {}
    told = any(one.get("reason") == ALL_AVAILABLE for one in status.get("conditions") or ())
    return told or int(status.get("availableReplicas", 0)) > 0


def number_of(current: str, numbers: Mapping[str, int]) -> int:
    """The number of the wanted revision's ControllerRevision: the highest. One that comes back gets a new
    one, as Kubernetes' own do, so that the one before it is the one that it takes the place of."""
    others = max((number for revision, number in numbers.items() if revision != current), default=0)
    own = numbers.get(current, 0)
    return own if own > others else others + 1


def kept_revisions(current: str, numbers: Mapping[str, int]) -> set[str]:
    """Of the ControllerRevisions, by revision, the current one and the one before it."""
    before = sorted((revision for revision in numbers if revision != current), key=lambda r: (numbers[r], r))
    return {current, *before[-1:]}
