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
│   ├── BackendUnavailable   nobody listens, or there is nothing to ask
│   │   ├── BackendAway      it says itself that it takes none now: it drains, or exchanges its version
│   │   └── BackendLost      it was gone or dead after it was asked, maybe for being asked this
│   │       └── StubDead     Triton says that the process of its model is dead; it does not start another
│   ├── BackendOverloaded    it refused for lack of room
│   └── BackendTimeout       no answer by the deadline
├── ClusterError       the Kubernetes API could not do what was asked
│   ├── NotFound       there is no such object
│   ├── Conflict       another writer came first
│   ├── Foreign        the name is taken by an object that is not ours
│   ├── Refused        it judged the object invalid or not allowed; trying again will not help
│   └── Unreachable    no answer, too many requests, or a fault of the server; try again
├── FetchError         a model's files could not be fetched; `exit_code` is the fetching process's
│   ├── SourceNotFound     there is nothing at the URI
│   ├── Unauthorized       the source refuses these credentials, or wants some
│   ├── SourceUnavailable  the source does not answer, or breaks off again and again
│   ├── SourceChanged      what is fetched is no longer what was listed; start again
│   ├── DigestMismatch     other bytes came than were promised
│   ├── SizeLimitExceeded  more than may be fetched
│   ├── DiskFull           no room for it
│   ├── ArchiveRefused     an archive is broken, or would write where it must not
│   ├── AlreadyFetching    another process fetches to the same place
│   └── DestinationOccupied    something that was not fetched lies there
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


class BackendAway(BackendUnavailable):
    """Nothing was begun, and nothing is wrong with it: another replica may be asked."""

    reason = "BackendAway"


class BackendLost(BackendUnavailable):
    """The connection broke, or the engine died, with the request inside. One that kills whoever computes it
    looks the same, so it is asked once more at the most; `again` tells that it was already."""

    reason = "BackendLost"

    def __init__(self, message: str, *, again: bool = False) -> None:
        self.again = again
        super().__init__(message)


class StubDead(BackendLost):
    """Triton's own word that the process which ran the model is dead; only a load starts another one."""

    reason = "StubDead"


class BackendOverloaded(BackendError):
    """`retry_after` is in how many seconds there may be room."""

    reason = "BackendOverloaded"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class BackendTimeout(BackendError):
    reason = "DeadlineExceeded"


class ClusterError(FastServeError):
    """A call to the Kubernetes API failed; the text is the server's own, shortened."""

    reason = "ClusterFailed"


class NotFound(ClusterError):
    reason = "ObjectNotFound"


class Conflict(ClusterError):
    reason = "Conflict"


class Foreign(ClusterError):
    reason = "ForeignObject"


class Refused(ClusterError):
    reason = "Refused"


class Unreachable(ClusterError):
    reason = "ApiUnreachable"


class FetchError(FastServeError):
    """Fetching failed. The text never holds a credential or an endpoint; `exit_code` tells the same to a
    shell as `reason` does to people."""

    reason = "FetchFailed"
    exit_code = 10


class SourceNotFound(FetchError):
    reason = "NotFound"
    exit_code = 11


class Unauthorized(FetchError):
    reason = "Unauthorized"
    exit_code = 12


class SourceUnavailable(FetchError):
    reason = "SourceUnavailable"
    exit_code = 13


class SourceChanged(FetchError):
    reason = "SourceChanged"
    exit_code = 14


class DigestMismatch(FetchError):
    reason = "DigestMismatch"
    exit_code = 15


class SizeLimitExceeded(FetchError):
    reason = "SizeLimitExceeded"
    exit_code = 16


class DiskFull(FetchError):
    reason = "DiskFull"
    exit_code = 17


class ArchiveRefused(FetchError):
    reason = "ArchiveRefused"
    exit_code = 18


class AlreadyFetching(FetchError):
    reason = "AlreadyFetching"
    exit_code = 19


class DestinationOccupied(FetchError):
    reason = "DestinationOccupied"
    exit_code = 20


class RequestError(FastServeError):
    """An answer with an HTTP status code; `reason` is PascalCase and stable, the text is for people."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


class LocalError(FastServeError):
    reason = "LocalModeFailed"
