"""What went wrong with a sub-model's or a pool's pods, with the line that matters.

Kubernetes says it in six places, routers in one; whoever is nearest to the cause speaks first: the router
(a checkpoint that is bad says so, not CrashLoopBackOff), then the kubelet on a container, then the node, then
the controller that may not make pods. A failure of a container that runs again is past: it is told, but does
not stop anything.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastserve.api.meta import Failure
from fastserve.api.objects import Manifest
from fastserve.planning.moments import Moment, rfc3339
from fastserve.planning.objects.pod_views import PodView

IMAGE_UNPULLABLE, NODE_LOST, DISK_FULL = "ImageUnpullable", "NodeLost", "DiskFull"
FOREIGN_OBJECT, INVALID_POD_TEMPLATE = "ForeignObject", "InvalidPodTemplate"
HOPELESS = frozenset(
    {
        "CheckpointInvalid",
        "DigestMismatch",
        "InvalidSpec",
        "SizeLimitExceeded",
        "ArchiveRefused",
        FOREIGN_OBJECT,
        INVALID_POD_TEMPLATE,
    }
)
"""Where waiting will not help: somebody has to change something."""
_IMAGE_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
    | {"RegistryUnavailable", "SignatureValidationFailed"}
)
_PATIENT_REASONS = frozenset({"", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
GATES_SHUT = "ReadinessGatesNotReady"
"""What the kubelet says of a pod that waits for somebody else's word, such as a load balancer's."""
_DISK_WORDS = ("ephemeral-storage", "ephemeral local storage", "emptydir", "disk", "inodes")
_MAX_MESSAGE = 4096


@dataclass(frozen=True, order=True)
class Trouble:
    """One thing that is or was wrong. `rank` is how near its teller is to the cause, 0 the nearest;
    `past` where it is over."""

    past: bool
    rank: int
    pod: str
    reason: str
    message: str
    time: str = ""


def pod_troubles(pod: PodView) -> tuple[Trouble, ...]:
    """Everything that this pod has to say, the most telling first."""
    return tuple(sorted([*_of_router(pod), *_of_containers(pod), *_of_node(pod)]))


def ended_trouble(pod: PodView) -> Trouble:
    """Why a pod ended that never runs again; it has a successor by now."""
    text = pod.message.lower()
    full = pod.reason == "Evicted" and any(word in text for word in _DISK_WORDS)
    reason = DISK_FULL if full else pod.reason or "PodFailed"
    return Trouble(True, 2, pod.name, reason, pod.message or "the pod ended")


def deployment_trouble(deployment: Manifest) -> Iterator[Trouble]:
    """Why the Deployment's controller cannot make pods, such as a quota or Pod Security."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            # The refused pod's own name is another one at every try.
            message = re.sub(r'^pods "[^"]*" is forbidden: ', "", str(condition.get("message", "")))
            reason, time = str(condition.get("reason", "FailedCreate")), condition.get("lastTransitionTime")
            yield Trouble(False, 3, "", reason, message, time or "")


def last_failure(
    troubles: Iterable[Trouble], before: Failure | None, now: Moment, *, ready: bool
) -> Failure | None:
    """What to tell as the last failure. What is over is told only while it is news: to whom all is well,
    nobody brings up the past; but what was told stays."""
    told = sorted(one for one in troubles if not (one.past and ready))
    if not told:
        return before
    first = told[0]
    if before is not None and (before.reason, before.pod, before.message) == (
        first.reason,
        first.pod,
        first.message[:_MAX_MESSAGE],
    ):
        return before
    return Failure(
        reason=first.reason,
        message=first.message[:_MAX_MESSAGE],
        time=first.time or rfc3339(now),
        pod=first.pod,
    )


def _of_router(pod: PodView) -> Iterator[Trouble]:
    failure = pod.model.last_failure if pod.model else None
    if failure is not None:
        # A pod that takes requests may do so with the version before, while the one that is asked for fails.
        past = pod.ready and (pod.load is None or pod.load.phase != "FailedToLoad")
        yield Trouble(past, 0, pod.name, failure.reason, failure.message, failure.time)


def _of_containers(pod: PodView) -> Iterator[Trouble]:
    for status in pod.containers:
        name = str(status.get("name", ""))
        waiting = (status.get("state") or {}).get("waiting")
        ended = (status.get("state") or {}).get("terminated")
        before = (status.get("lastState") or {}).get("terminated")
        if waiting is not None:
            yield from _of_waiting(pod, name, waiting)
        if ended is not None and not pod.leaving:
            yield from _of_ended(pod, name, ended, past=False)
        elif before is not None:
            yield from _of_ended(pod, name, before, past=waiting is None)


def _of_waiting(pod: PodView, container: str, waiting: Mapping[str, Any]) -> Iterator[Trouble]:
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in _IMAGE_REASONS:
        # The kubelet tells the same by turns as ErrImagePull and, with a preface, as ImagePullBackOff.
        said = re.sub(r'^Back-off pulling image "[^"]*": \w+: ', "", message)
        yield Trouble(False, 1, pod.name, IMAGE_UNPULLABLE, f"{container}: {said or reason}")
    elif reason not in _PATIENT_REASONS:
        yield Trouble(False, 1, pod.name, reason, f"{container}: {message or reason}")


def _of_ended(pod: PodView, container: str, ended: Mapping[str, Any], *, past: bool) -> Iterator[Trouble]:
    code, reason = int(ended.get("exitCode", 0)), str(ended.get("reason", ""))
    if code == 0:
        return
    said = str(ended.get("message", "")).strip()
    line = said.splitlines()[-1] if said else f"exit code {code}"
    if reason in ("", "Error"):
        reason = "ContainerFailed"
    elif reason == "OOMKilled":
        line = said or "the container took more memory than its limit, or the node had none left"
    yield Trouble(past, 1, pod.name, reason, f"{container}: {line}", str(ended.get("finishedAt") or ""))


def _of_node(pod: PodView) -> Iterator[Trouble]:
    disruption = pod.condition("DisruptionTarget")
    if disruption.get("status") == "True" and disruption.get("reason") == "DeletionByTaintManager":
        yield Trouble(False, 2, pod.name, NODE_LOST, f"node {pod.node} does not answer; the pod is given up")
        return
    # Of a node that is silent nobody but the control plane speaks, and it only takes the readiness away.
    ready = pod.condition("Ready")
    taken = ready.get("status") == "False" and ready.get("reason") != GATES_SHUT
    if taken and pod.condition("ContainersReady").get("status") == "True" and not pod.leaving:
        time = str(ready.get("lastTransitionTime", ""))
        yield Trouble(False, 2, pod.name, NODE_LOST, f"node {pod.node} does not answer", time)
