"""Why a text has no answer."""

from collections.abc import Mapping

from fastserve.errors import (
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
)
from fastserve.router.answers import Refusal
from fastserve.router.replicas import MemberOutput
from fastserve.router.selection import Choice, Rules

Outputs = Mapping[str, MemberOutput | BackendError]
"""What each sub-model said."""


def no_choice(choice: Choice, rules: Rules) -> Refusal:
    """The refusal of a text for which nobody can be asked; NoMatch tells all scores."""
    scores = [
        {"name": one.name, "similarity": one.similarity, "belief": round(one.belief, 6), "ready": one.ready}
        for one in choice.standings
    ]
    details = {"decision": "Rejected", "threshold": rules.min_score, "members": scores}
    headers = (("x-fastserve-decision", "Rejected"),)
    return Refusal(str(choice.outcome), choice.because, details=details, headers=headers)


def too_few(said: Outputs, arrived: int) -> Exception:
    """Why a text has no answer. BackendUnavailable where choosing again may help."""
    errors = {name: output for name, output in said.items() if isinstance(output, BackendError)}
    text = "; ".join(f"{name}: {error}" for name, error in errors.items())
    if arrived:
        return Refusal("TooFewAnswers", f"{arrived} of {len(said)} sub-models answered; {text}")
    if any(isinstance(error, BackendTimeout) for error in errors.values()):
        return Refusal("DeadlineExceeded", text)
    if all(isinstance(error, BackendUnavailable) for error in errors.values()):
        lost = any(isinstance(error, BackendLost) for error in errors.values())
        return BackendLost(text) if lost else BackendUnavailable(text)
    if all(isinstance(error, (BackendOverloaded, BackendUnavailable)) for error in errors.values()):
        waits = (error.retry_after for error in errors.values() if isinstance(error, BackendOverloaded))
        return Refusal("QueueFull", text, retry_after=max(waits))
    return Refusal("MembersFailed", text)
