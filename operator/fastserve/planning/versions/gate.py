"""What a candidate has shown: failures, times, agreement, judged by the policy's figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastserve.api.routes import Rollout
from fastserve.api.state import VersionState
from fastserve.api.versions import DEFINITE, FAILED_LOADS, GATE_FAILED, LOAD_FAILED, UNSURE, Gate
from fastserve.planning.versions.words import Fault, Heard

ENOUGH_REQUESTS = 20
"""Requests from which on shares and medians mean something."""
MAX_MESSAGE = 1024


def definite_fault(rollout: Rollout, named: Sequence[Heard]) -> Fault | None:
    """What routers say of the candidate that no other try would mend."""
    failures = [(one, told) for one in named if (told := _failed(one, rollout)) and told.last_failure]
    for heard, told in failures:
        if told.last_failure and told.last_failure.reason in DEFINITE:
            return _told(heard, told)
    unknown = [
        (heard, told) for heard, told in failures if told.last_failure and told.last_failure.reason in UNSURE
    ]
    if sum(max(1, told.failed_loads) for _, told in unknown) >= FAILED_LOADS:
        return _told(*unknown[0])
    return None


def last_words(rollout: Rollout, named: Sequence[Heard]) -> str:
    """What a named router said last of its failure with the candidate; empty where none did."""
    faults = (_told(one, told) for one in named if (told := _failed(one, rollout)))
    return next((f"{fault.reason}: {fault.message}" for fault in faults if fault.message), "")


def _failed(heard: Heard, rollout: Rollout) -> VersionState | None:
    """The candidate, where it failed there for this very rollout and not for an earlier one."""
    told = heard.version(rollout.candidate.digest)
    failed = told is not None and told.phase == "FailedToLoad" and told.generation == rollout.generation
    return told if failed else None


def _told(heard: Heard, told: VersionState) -> Fault:
    failure = told.last_failure
    if failure is None:
        return Fault(LOAD_FAILED, "")
    return Fault(failure.reason, f"{failure.message} (router {heard.instance})"[:MAX_MESSAGE])


@dataclass(frozen=True)
class Trial:
    """Where the candidate's figures are to be found: at the `named` of all replicas `heard`."""

    candidate: str
    stable: str
    named: Sequence[Heard]
    heard: Sequence[Heard]


def gate_fault(gate: Gate, trial: Trial) -> Fault | None:
    """Where the candidate's figures are beyond the gate's."""
    tried = [(one, told) for one in trial.named if (told := one.version(trial.candidate))]
    stable = [told for one in trial.heard if (told := one.version(trial.stable))]
    versions = [told for _, told in tried]
    found = _disagreement(gate, versions) or _failures(gate, versions) or _slowness(gate, tried, stable)
    return Fault(GATE_FAILED, found) if found else None


def _disagreement(gate: Gate, tried: Sequence[VersionState]) -> str:
    least = float(gate.min_agreement)
    agreements = [told.agreement for told in tried if told.agreement is not None]
    if not agreements or min(agreements) >= least:
        return ""
    return (
        f"it agrees with the version before on {min(agreements):.3g} of the examples;"
        f" gate.minAgreement is {gate.min_agreement}"
    )


def _failures(gate: Gate, tried: Sequence[VersionState]) -> str:
    requests, failures = sum(told.requests for told in tried), sum(told.failures for told in tried)
    # Over the share even if all that is missing to enough requests went well.
    if failures <= float(gate.max_failure_share) * max(requests, ENOUGH_REQUESTS):
        return ""
    return f"{failures} of its {requests} requests failed; gate.maxFailureShare is {gate.max_failure_share}"


def _slowness(gate: Gate, tried: Sequence[tuple[Heard, VersionState]], stable: Sequence[VersionState]) -> str:
    for took, before in _medians(tried, stable):
        if took > float(gate.max_latency_ratio) * before:
            return (
                f"its inferences take {took * 1000:.3g} ms where those of the version before take"
                f" {before * 1000:.3g} ms; gate.maxLatencyRatio is {gate.max_latency_ratio}"
            )
    return ""


def _medians(
    tried: Sequence[tuple[Heard, VersionState]], stable: Sequence[VersionState]
) -> Iterator[tuple[float, float]]:
    """Medians to compare, in seconds: of one replica, where both answer there, since machines differ;
    otherwise the middle ones of all."""
    names = {told.digest for told in stable}
    pairs = [
        (told.inference_p50_seconds, before.inference_p50_seconds)
        for heard, told in tried
        for before in heard.versions
        if before.digest in names and _means_something(told) and _means_something(before)
    ]
    if pairs:
        yield from pairs
        return
    took = sorted(told.inference_p50_seconds for _, told in tried if _means_something(told))
    before = sorted(told.inference_p50_seconds for told in stable if _means_something(told))
    if took and before:
        yield took[len(took) // 2], before[len(before) // 2]


def _means_something(told: VersionState) -> bool:
    return told.requests >= ENOUGH_REQUESTS and told.inference_p50_seconds > 0
