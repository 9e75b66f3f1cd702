"""What is worth an Event: a change that a person would want to read in ``kubectl describe``."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from fastserve.api.meta import Condition
from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.submodel import SubModelStatus
from fastserve.planning.objects.conditions import find, with_pod
from fastserve.planning.objects.judging import UNDER_WAY, WAKING
from fastserve.planning.objects.verdicts import SCALING_UP, VERSION_REFUSED
from fastserve.planning.versions.words import Phase

STARTED = (Phase.HOT_SWAP, Phase.CANARY)
AnyStatus = ModelPoolStatus | SubModelStatus
MAX_NOTE = 1024
"""Bytes that the API server takes."""


@dataclass(frozen=True)
class Happening:
    """One Event to write about an object. `action` is the machine-readable what, `note` the sentence."""

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


def events(before: AnyStatus | None, after: AnyStatus) -> tuple[Happening, ...]:
    """The Events that lie between two statuses of one object; none where nothing changed. Progress is no
    event: the status tells it."""
    found = [*_of_conditions(before, after), *_of_failure(before, after)]
    if isinstance(after, SubModelStatus) and (before is None or isinstance(before, SubModelStatus)):
        found += [*_of_exchange(before, after), *_of_versions(before, after)]
    found = [replace(one, note=_within(one.note)) for one in found]
    # One cause often shows in several places; it is told once.
    return tuple({(one.reason, one.note): one for one in reversed(found)}.values())[::-1]


def _within(note: str) -> str:
    """The beginning of a note, no character cut in two."""
    return note.encode()[:MAX_NOTE].decode(errors="ignore")


def _of_conditions(before: AnyStatus | None, after: AnyStatus) -> Iterator[Happening]:
    for now in after.conditions:
        was = find(before.conditions, now.type) if before is not None else None
        if was is not None and (was.status, was.reason) == (now.status, now.reason):
            continue
        yield from _of_condition(was, now)
    for was in before.conditions if before is not None else ():
        if was.type == "Suspended" and find(after.conditions, was.type) is None:
            yield Happening("Normal", "Resumed", "Resume", "spec.suspend is no longer true")


def _of_condition(was: Condition | None, now: Condition) -> Iterator[Happening]:
    note = now.message
    match now.type, now.status:
        case "Accepted", "False":
            yield Happening("Warning", now.reason, "Reject", note)
        case "Accepted", "True" if was is not None:
            yield Happening("Normal", "Accepted", "Accept", note)
        case "Ready", "True":
            yield Happening("Normal", "Ready", "Serve", note)
        case "Ready", "False" if now.reason == VERSION_REFUSED:
            yield Happening("Warning", "HotSwapRefused", "Swap", note)
        case "Ready", "False" if now.reason == WAKING:
            yield Happening("Normal", now.reason, "Scale", note)
        case "MetricsAvailable", "False":
            yield Happening("Warning", now.reason, "Scale", note)
        case "Ready", "False" if was is not None and was.status == "True":
            yield Happening("Warning", "NotReady", "Serve", f"{now.reason}: {note}")
        case "PlacementReady", "False" if now.reason == "Unschedulable":
            yield Happening("Warning", now.reason, "Place", note)
        case "Progressing", "False" if now.reason == "ProgressDeadlineExceeded":
            yield Happening("Warning", now.reason, "RollOut", note)
        case "Stalled", "True" if now.reason != VERSION_REFUSED:
            yield Happening("Warning", now.reason, "Stall", note)
        case "Suspended", "True":
            yield Happening("Normal", "Suspended", "Suspend", note)


def _of_failure(before: AnyStatus | None, after: AnyStatus) -> Iterator[Happening]:
    failure, was = after.last_failure, before.last_failure if before is not None else None
    if failure is None:
        return
    if was is not None and (was.reason, was.message, was.pod) == (
        failure.reason,
        failure.message,
        failure.pod,
    ):
        return
    yield Happening("Warning", failure.reason, "Run", with_pod(failure.message, failure.pod))


def _of_exchange(before: SubModelStatus | None, after: SubModelStatus) -> Iterator[Happening]:
    """The steps of a hot-swap, told by why the sub-model is Progressing."""
    was, now = _course(before), _course(after)
    progressing = find(after.conditions, "Progressing")
    note = progressing.message if progressing is not None else ""
    retargeted = before is not None and _asks_for_another(before, after)
    if now == Phase.PAUSED and was != now:
        yield Happening("Normal", "HotSwapPaused", "Swap", note)
    elif was == Phase.PAUSED and now and was != now:
        yield Happening("Normal", "HotSwapResumed", "Swap", note)
    elif now in STARTED and (was not in STARTED or retargeted):
        yield Happening("Normal", "HotSwapStarted", "Swap", note)
    elif was in STARTED and now == Phase.RETURNING:
        yield Happening("Normal", "HotSwapReturning", "Swap", note)
    elif was and not now and not _refused(after):
        if was == Phase.RETURNING or (retargeted and _at_rest(after)):
            yield Happening("Normal", "HotSwapAborted", "Swap", f"version {after.target_version} stays")
        elif _at_rest(after):
            note = f"version {after.target_version} answers on every replica"
            yield Happening("Normal", "HotSwapPromoted", "Swap", note)


def _asks_for_another(before: SubModelStatus, after: SubModelStatus) -> bool:
    """Whether the spec names another version. The same one changes its name too: who gave it none hears what
    a router read from its files, once one did."""
    edited = before.observed_generation != after.observed_generation
    return edited and before.target_version != after.target_version


def _course(status: SubModelStatus | None) -> str:
    """The phase of the exchange that a status tells of; empty where none is under way."""
    progressing = find(status.conditions, "Progressing") if status is not None else None
    return progressing.reason if progressing is not None and progressing.reason in UNDER_WAY else ""


def _refused(status: SubModelStatus) -> bool:
    ready = find(status.conditions, "Ready")
    return ready is not None and ready.reason == VERSION_REFUSED


def _at_rest(status: SubModelStatus) -> bool:
    progressing = find(status.conditions, "Progressing")
    return progressing is not None and progressing.reason in ("UpToDate", SCALING_UP)


def _of_versions(before: SubModelStatus | None, after: SubModelStatus) -> Iterator[Happening]:
    was = before.revision if before is not None else ""
    if after.revision and after.revision != was:
        course = f"takes the place of {was}" if was else "is being rolled out"
        note = f"revision {after.revision} {course}"
        yield Happening("Normal", "NewRevision", "RollOut", note)
    versions = (before.active_version if before is not None else "", after.active_version)
    if all(versions) and versions[0] != versions[1]:
        note = f"version {versions[1]} answers instead of {versions[0]}"
        yield Happening("Normal", "NewVersion", "Swap", note)
