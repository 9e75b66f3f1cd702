"""What Triton cannot tell its sidecar: which version failed how often and why, and which one answered."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from fastserve.api.engine import EngineReport
from fastserve.api.meta import Failure
from fastserve.api.routes import Target
from fastserve.errors import FastServeError
from fastserve.router import loading
from fastserve.router.model_files import ModelPlaces, found_files
from fastserve.router.versions.trial import Serving

Phase = Literal["Pending", "Fetching", "Loading", "Loaded", "FailedToLoad"]
ABSENT_SECONDS = 10.0
"""A Triton that does not answer for so long did not merely start."""
MAX_MESSAGE = 4096
LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass
class Spare:
    """The version that was proved last, and how loading it again went; seconds of the loop's clock."""

    target: Target
    failures: int = 0
    retry_at: float = 0.0


@dataclass
class Bookkeeping:
    """Times are seconds of the loop's clock, but for `away_since`. `failed_bytes` is how far the last fetch
    had come when it failed, `keys` are the fetched folders that models were loaded from. `checked` is the
    target whose mounted files were looked at and not loaded yet."""

    target: tuple[str, int | None] = ("", None)
    failures: int = 0
    retry_at: float = 0.0
    failure: Failure | None = None
    failed_bytes: int = 0
    proved: dict[str, Serving] = field(default_factory=dict)
    load_seconds: dict[str, float] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    dead_since: float | None = None
    restarts: dict[str, int] = field(default_factory=dict)
    away_since: datetime | None = None
    spare: Spare | None = None
    checked: str = ""

    def take_target(self, target: Target | None) -> bool:
        """A new target starts with a clean slate; whether this is one."""
        name = (target.model_name, target.max_bytes) if target else ("", None)
        if name == self.target:
            return False
        self.target, self.failures, self.retry_at, self.failure = name, 0, 0.0, None
        self.dead_since, self.failed_bytes, self.checked = None, 0, ""
        return True

    def take_stable(self, stable: Target | None) -> None:
        """Beside a candidate, the stable version is the one to fall back on."""
        known = self.spare.target.model_name if self.spare is not None else ""
        if stable is not None and stable.model_name != known:
            self.spare = Spare(stable)

    def is_about(self, target: Target | None) -> bool:
        """Whether what stands here is about this target, and not about one that was just exchanged."""
        return target is None or target.model_name == self.target[0]

    def failed(self, target: Target) -> bool:
        """Whether this target failed and has not recovered."""
        return self.failure is not None and self.is_about(target)

    def fail(self, error: Exception, now: float) -> Failure:
        """One more failure of the target at `now`."""
        self.failures += 1
        reason = error.reason if isinstance(error, FastServeError) else "LoadFailed"
        self.retry_at = now + loading.backoff(self.failures, reason)
        self.failure = failure_of(reason, str(error))
        return self.failure

    def note_proved(self, target: Target, serving: Serving) -> None:
        """An inference was answered with it. That the spare answers again tells nothing of the target."""
        self.proved[target.model_name] = serving
        if self.is_about(target):
            self.failures, self.failure, self.spare = 0, None, Spare(target)

    def version(self, name: str, target: Target | None) -> Target | None:
        """The target or the spare, by its name in Triton."""
        known = (target, self.spare.target if self.spare else None)
        return next((one for one in known if one is not None and one.model_name == name), None)

    def spare_beside(self, target: Target | None, places: ModelPlaces) -> Spare | None:
        """The version that was proved last, where it is not the target and its files are here."""
        spare = self.spare
        if spare is None or target is None or spare.target.model_name == target.model_name:
            return None
        files = found_files(spare.target, places)
        return spare if files is not None and files.folder.is_dir() else None

    def phase(self, target: Target, doing: Phase, fetched: int) -> Phase:
        """How far the target is, where `doing` is what is done for it now and `fetched` bytes are here."""
        if target.model_name in self.proved:
            return "Loaded"
        # A failed load that is tried again is still a failed load, or the phase would flap for ever; a fetch
        # that comes further than the last one is none.
        return "FailedToLoad" if self.failed(target) and fetched <= self.failed_bytes else doing

    def spare_failed(self, name: str, now: float) -> None:
        """The spare, where it is the one of that name, could not be loaded again or did not answer."""
        if self.spare is not None and self.spare.target.model_name == name:
            self.spare.failures += 1
            self.spare.retry_at = now + loading.backoff(self.spare.failures)

    def note_live(self, *, live: bool) -> None:
        """Whether Triton answers now."""
        self.away_since = None if live else self.away_since or _now()

    def last_failure(self, report: EngineReport | None) -> Failure | None:
        """Why the target is not there, else that Triton is not, else the engine's own last error."""
        if self.failure is not None:
            return self.failure
        away = self.away_since
        if away is not None and (_now() - away).total_seconds() >= ABSENT_SECONDS:
            message = "no Triton answers beside this router; the state of its container tells why"
            return Failure(reason="TritonAbsent", message=message, time=rfc3339(away))
        if report is None or not report.last_error_reason:
            return None
        # A user's own code may speak there, with a number that is no moment.
        moment = min(max(report.last_error_time, 0.0), LAST_MOMENT)
        time = rfc3339(datetime.fromtimestamp(moment, UTC))
        message = report.last_error_message[:MAX_MESSAGE]
        return Failure(reason=report.last_error_reason, message=message, time=time)


def failure_of(reason: str, message: str) -> Failure:
    """A failure of this moment."""
    return Failure(reason=reason, message=message[:MAX_MESSAGE], time=rfc3339(_now()))


def _now() -> datetime:
    return datetime.now(UTC)


def rfc3339(time: datetime) -> str:
    """Seconds, in UTC."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
