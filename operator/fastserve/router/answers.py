"""From errors to answers: one table of reasons and status codes, and the answer record itself."""

import math
from collections.abc import Mapping

import msgspec

from fastserve.errors import (
    BackendError,
    BackendLost,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
    FastServeError,
    RequestError,
)

STATUS: dict[str, int] = {
    "BadRequest": 400,
    "BadPath": 400,
    "BadJson": 400,
    "UnknownField": 400,
    "MissingField": 400,
    "WrongType": 400,
    "OutOfRange": 400,
    "TextEmpty": 400,
    "TextNotUtf8": 400,
    "BadTensor": 400,
    "KeyMissing": 401,
    "KeyUnknown": 401,
    "KeyForbidden": 403,
    "PathUnknown": 404,
    "ModelUnknown": 404,
    "MethodNotAllowed": 405,
    "RequestTimeout": 408,
    "BodyTooLarge": 413,
    "UrlTooLong": 414,
    "ExpectationFailed": 417,
    "NoMatch": 422,
    "QueueFull": 429,
    "HeadersTooLarge": 431,
    "Internal": 500,
    "BodiesTooMany": 503,
    "ConnectionsTooMany": 503,
    "RouterStarting": 503,
    "NoMemberReady": 503,
    "MemberLost": 503,
    "MemberUnavailable": 503,
    "MembersFailed": 503,
    "DeadlineExceeded": 504,
    "TooFewAnswers": 504,
}
"""Every reason a door can answer with."""

PHRASES: dict[int, str] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

BACKEND_REASONS: dict[type[BackendError], str] = {
    BackendOverloaded: "QueueFull",
    BackendTimeout: "DeadlineExceeded",
    BackendLost: "MemberLost",
    BackendUnavailable: "MemberUnavailable",
    BackendError: "MembersFailed",
}
"""What a failed call to a backend is called at the door."""

ASKED_AGAIN = "askedAgain"
"""In the answer of a member's router: the request was lost twice there, and is not to be asked any more."""
WAIT_HELPS = frozenset({429, 503})
"""These carry Retry-After."""
LEAST_RETRY_SECONDS = 1
"""Ready or not is looked at every second."""
MOST_RETRY_SECONDS = 30


MAX_MESSAGE = 4000
"""Characters of an error: some repeat a word of the caller's, and that may be as long as a body."""


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer. `headers` are names in lower case, without content-length."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    reason: str = ""
    """Why it is an error; empty for a good answer."""
    request_id: str = ""
    """Told as x-request-id where there is one; beside `headers`, which many answers share."""


class Refusal(RequestError):
    """A request that is answered with an error; `details` are added to the JSON body, `retry_after` is in how
    many seconds it may be answered, where that is known."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(STATUS[reason], reason, message)
        self.details = details or {}
        self.headers = headers
        self.retry_after = retry_after


def refusal_of(error: FastServeError) -> Refusal:
    """The door's word for an error of the tree."""
    if isinstance(error, Refusal):
        return error
    for kind in type(error).__mro__:
        if kind in BACKEND_REASONS:
            wait = error.retry_after if isinstance(error, BackendOverloaded) else 0.0
            details = {ASKED_AGAIN: True} if isinstance(error, BackendLost) and error.again else None
            return Refusal(BACKEND_REASONS[kind], str(error), details=details, retry_after=wait)
    return Refusal("Internal", str(error))


def error_answer(refusal: Refusal) -> Answer:
    """``{"error": …, "reason": …}`` with the status of the table; Retry-After where waiting helps."""
    document = {"error": refusal.message[:MAX_MESSAGE], "reason": refusal.reason, **refusal.details}
    headers = refusal.headers
    if refusal.status in WAIT_HELPS:
        seconds = min(max(math.ceil(refusal.retry_after), LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS)
        headers = (*headers, ("retry-after", str(seconds)))
    return Answer(refusal.status, msgspec.json.encode(document), headers, reason=refusal.reason)


def json_answer(document: object, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(200, msgspec.json.encode(document), headers)
