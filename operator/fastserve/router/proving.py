"""The one inference after which a version may serve: what it answers must fit what is said of it."""

from dataclasses import dataclass

from fastserve.api.engine import EngineReport
from fastserve.api.routes import Target
from fastserve.errors import BackendError, InvalidSpec
from fastserve.router.serving import OwnReplica
from fastserve.router.versions.trial import Serving


@dataclass(frozen=True)
class Candidate:
    """A loaded version that did not answer yet. `output` is the name of its tensor."""

    target: Target
    output: str
    version: str
    max_batch: int
    report: EngineReport | None


async def prove(replica: OwnReplica, candidate: Candidate) -> Serving:
    """Raises BackendError where it does not answer as its engine says, InvalidSpec where it does not answer
    as its user says."""
    if candidate.target.custom:
        return await _prove_custom(replica, candidate)
    report = candidate.report
    if report is None or report.width == 0:
        raise BackendError("the engine does not report its labels")
    serving = _serving(candidate, report.labels, report.width)
    scores = await replica.prove(serving)
    if scores.shape[1] != report.width:
        raise BackendError(f"{scores.shape[1]} scores came, the engine reports {report.width}")
    return serving


async def _prove_custom(replica: OwnReplica, candidate: Candidate) -> Serving:
    labels = candidate.target.labels if candidate.output == "scores" else ()
    scores = await replica.prove(_serving(candidate, labels, len(labels)))
    width = scores.shape[1]
    if candidate.output == "scores" and width != len(labels):
        raise InvalidSpec(
            "spec.engine.labels",
            f"the model gives {width} scores for a text, and {len(labels)} labels are named",
            f"{width} labels",
        )
    return _serving(candidate, labels, width)


def _serving(candidate: Candidate, labels: tuple[str, ...], width: int) -> Serving:
    target = candidate.target
    return Serving(
        target.model_name,
        target.digest,
        candidate.version,
        candidate.output,
        labels,
        width,
        candidate.max_batch,
    )
