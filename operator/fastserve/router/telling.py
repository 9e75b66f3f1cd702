"""What a router tells of each version: those in its Triton, on their way there, or failed; and of loads."""

from fastserve.api.engine import EngineReport
from fastserve.api.routes import Target
from fastserve.api.state import VersionState
from fastserve.router.serving import OwnReplica
from fastserve.router.sidecar import Sidecar
from fastserve.router.versions.driving import GivenUp
from fastserve.router.versions.trial import Serving


def versions_of(sidecar: Sidecar, own: OwnReplica | None, now: float) -> tuple[VersionState, ...]:
    """The stable version, the candidate, what failed in this rollout, and what else still serves."""
    if own is None:
        return ()
    told: dict[str, VersionState] = {}
    for serving in sidecar.known.book.proved.values():
        told[serving.digest] = _loaded(sidecar, own, serving, now)
    for target in (sidecar.known.drive.target, sidecar.known.drive.stable):
        if target is not None and target.digest not in told:
            told[target.digest] = _coming(sidecar, target)
    member = sidecar.known.member
    given_up = sidecar.known.course.failed(member.rollout) if member and member.rollout else None
    if given_up is not None:
        told[given_up.target.digest] = _failed(given_up)
    return tuple(told.values())


def _loaded(sidecar: Sidecar, own: OwnReplica, serving: Serving, now: float) -> VersionState:
    share, tally = share_of(own, serving.name), own.tallies.of(serving.name)
    p50, p95 = tally.quantiles(now)
    rollout, target = sidecar.known.drive.rollout, sidecar.known.drive.target
    report = sidecar.known.report if target is not None and target.digest == serving.digest else None
    return VersionState(
        digest=serving.digest,
        version=serving.version,
        phase="Loaded",
        generation=rollout.generation if rollout and rollout.candidate.digest == serving.digest else 0,
        active=own.ready and share > 0,
        share=share,
        requests=tally.requests,
        failures=tally.failures,
        inference_p50_seconds=p50,
        inference_p95_seconds=p95,
        agreement=sidecar.known.course.agreement.get(serving.digest),
        memory_bytes=sum(rank.memory_bytes for rank in report.ranks) if report else 0,
    )


def share_of(own: OwnReplica, name: str) -> float:
    """Part of the requests that a version gets now, by its name in Triton."""
    trial, current = own.trial, own.current
    tried = trial.share if trial is not None and not trial.lost else 0.0
    if trial is not None and trial.serving.name == name:
        return tried
    return 1.0 - tried if current is not None and current.name == name else 0.0


def _coming(sidecar: Sidecar, target: Target) -> VersionState:
    rollout, book = sidecar.known.drive.rollout, sidecar.known.book
    about = book.is_about(target)
    return VersionState(
        digest=target.digest,
        version=target.version,
        phase=sidecar.known.progress(target).phase if about else "Pending",
        generation=rollout.generation if rollout and rollout.candidate.digest == target.digest else 0,
        failed_loads=book.failures if about else 0,
        active=False,
        last_failure=book.failure if about else None,
    )


def _failed(given_up: GivenUp) -> VersionState:
    return VersionState(
        digest=given_up.target.digest,
        version=given_up.target.version,
        phase="FailedToLoad",
        generation=given_up.generation,
        failed_loads=given_up.loads,
        active=False,
        last_failure=given_up.failure,
    )


def last_load(measured: float | None, report: EngineReport | None) -> float:
    """Seconds of the last load: by the router that made it; by the engine where that loaded its ranks by
    itself since, or where this router found its Triton loaded."""
    if report is None or (measured is not None and not report.restarts):
        return measured or 0.0
    return report.load_seconds
