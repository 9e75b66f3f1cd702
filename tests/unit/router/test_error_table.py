"""Every error has a status; Triton's and the engine's words are understood."""

import json

import pytest

from fastserve import errors
from fastserve.errors import (
    BackendAway,
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
    StubDead,
)
from fastserve.router.answers import PHRASES, STATUS, Refusal, error_answer, refusal_of
from fastserve.router.triton import load_failure, triton_error


def test_every_status_has_a_phrase() -> None:
    assert set(STATUS.values()) <= set(PHRASES)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (BackendOverloaded("x"), 429, "QueueFull"),
        (BackendTimeout("x"), 504, "DeadlineExceeded"),
        (BackendUnavailable("x"), 503, "MemberUnavailable"),
        (BackendAway("x"), 503, "MemberUnavailable"),
        (BackendLost("x"), 503, "MemberLost"),
        (BackendError("x"), 503, "MembersFailed"),
        (errors.EngineError("x"), 500, "Internal"),
        (Refusal("NoMatch", "x"), 422, "NoMatch"),
    ],
)
def test_an_error_is_answered_with(error: errors.FastServeError, status: int, reason: str) -> None:
    answer = error_answer(refusal_of(error))

    assert (answer.status, json.loads(answer.body)) == (status, {"error": "x", "reason": reason})
    assert (("retry-after", "1") in answer.headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (
            "load failed: Internal: TritonModelException: CheckpointInvalid: no config.json\n\nAt:\n;",
            "CheckpointInvalid",
            "no config.json",
        ),
        ("RankDied: rank 1 ended with code -9", "RankDied", "rank 1 ended with code -9"),
        ("failed to load 'm', failed to poll from model repository", "LoadFailed", "failed to load 'm'"),
        (
            "load failed: Internal: TritonModelException: ValueError: these weights are spoilt\n\nAt:\n;",
            "LoadFailed",
            "load failed: Internal: TritonModelException: ValueError: these weights are spoilt",
        ),
        ("", "LoadFailed", "Triton gave no reason"),
    ],
)
def test_the_reason_of_a_failed_load_is_found_in_triton_s_words(text: str, reason: str, message: str) -> None:
    failure = load_failure(text)

    assert failure.reason == reason
    assert str(failure).startswith(message)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b'{"error": "Exceeds maximum queue size"}', BackendOverloaded),
        (503, b'{"error": "Request timeout expired"}', BackendTimeout),
        (404, b'{"error": "Request for unknown model"}', BackendUnavailable),
        (503, b'{"error": "RankDied: rank 0"}', BackendLost),
        (500, b'{"error": "message: Stub process \'m_0\' is not healthy."}', StubDead),
        (500, b'{"error": "message: The stub process is not healthy"}', StubDead),
        (500, b'{"error": "EngineFailed: no luck"}', BackendError),
        (500, b"not json", BackendError),
        (500, b'{"error": ""}', BackendLost),
    ],
)
def test_triton_s_answer_is_read_as(status: int, body: bytes, kind: type[BackendError]) -> None:
    assert type(triton_error(status, body)) is kind
