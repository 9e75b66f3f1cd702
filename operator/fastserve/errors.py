"""The error tree. Every error that a user can cause or meet is one of these.

FastServeError
├── InvalidSpec        what the user wrote cannot be served; waiting will not help
├── ManifestErrors     YAML that is not what it should be, fault by fault (api/problems.py)
├── NotStructural      a field of our own that no API server could validate (api/schema.py)
├── CheckpointError    a checkpoint is unreadable or not of the promised form
│   └── CheckpointMissing    there is none
├── EngineError        the engine could not load or answer
│   ├── DeviceMissing  devices were asked for and are not visible
│   └── RankDied       a rank process ended while it was needed
├── BackendError       a call to Triton or to another router failed
│   ├── BackendUnavailable   nobody listens, or the connection broke
│   ├── BackendOverloaded    it refused for lack of room
│   └── BackendTimeout       no answer by the deadline
├── RequestError       the caller's request is at fault, or cannot be served now; has a status code
└── LocalError         local mode cannot go on (port taken, Triton missing, too little memory, …)

This module imports nothing, so that every room, the one inside Triton too, can use it.
"""


class FastServeError(Exception):
    """Root of all errors that FastServe raises on purpose."""

    reason: str = "Failed"

    @property
    def message(self) -> str:
        return str(self)


class InvalidSpec(FastServeError):
    """A spec that cannot be served. `field` is its path, e.g. ``spec.parallelism.tensor``."""

    reason = "InvalidSpec"

    def __init__(self, field: str, message: str, allowed: str = "") -> None:
        self.field = field
        self.detail = message
        self.allowed = allowed
        text = f"{field}: {message}" + (f" (allowed: {allowed})" if allowed else "")
        super().__init__(text)


class CheckpointError(FastServeError):
    reason = "CheckpointInvalid"


class CheckpointMissing(CheckpointError):
    reason = "CheckpointMissing"


class EngineError(FastServeError):
    reason = "EngineFailed"


class DeviceMissing(EngineError):
    reason = "DeviceMissing"


class RankDied(EngineError):
    reason = "RankDied"


class BackendError(FastServeError):
    reason = "BackendFailed"


class BackendUnavailable(BackendError):
    reason = "BackendUnavailable"


class BackendOverloaded(BackendError):
    reason = "BackendOverloaded"


class BackendTimeout(BackendError):
    reason = "DeadlineExceeded"


class RequestError(FastServeError):
    """An answer with an HTTP status code; `reason` is PascalCase and stable, the text is for people."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


class LocalError(FastServeError):
    reason = "LocalModeFailed"
