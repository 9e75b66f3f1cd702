"""Which version this router drives at: the candidate where it is named for it and did not fail with it, else
the stable one."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fastserve.api.meta import Failure
from fastserve.api.routes import Member, Rollout, Target
from fastserve.api.versions import DEFINITE, FAILED_LOADS, UNSURE

MAX_GIVEN_UP = 8


@dataclass(frozen=True, slots=True)
class Drive:
    """`stable` and `rollout` only where the target is a candidate."""

    target: Target | None
    stable: Target | None = None
    rollout: Rollout | None = None

    @property
    def share(self) -> float:
        return float(self.rollout.share) if self.rollout is not None else 1.0

    @property
    def paused(self) -> bool:
        return self.rollout is not None and self.rollout.paused


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A candidate that failed here for good, in the rollout of `generation`."""

    target: Target
    generation: int
    failure: Failure
    loads: int


@dataclass
class Course:
    """What this router remembers of rollouts. All of it may be lost: it would only be found out again."""

    instance: str
    given_up: list[GivenUp] = field(default_factory=list)
    agreement: dict[str, float] = field(default_factory=dict)
    leaving: str = ""
    """Name in Triton of the candidate that there is no room for beside what serves."""
    left_at: float = 0.0
    admitted: str = ""
    """Name in Triton of the candidate that there was found room for beside what serves."""

    def drive(self, member: Member | None) -> Drive:
        """What the table says for this router."""
        if member is None:
            return Drive(None)
        rollout = member.rollout
        if rollout is None or self.instance not in rollout.named or self.failed(rollout):
            return Drive(member.target)
        return Drive(rollout.candidate, member.target, rollout)

    def failed(self, rollout: Rollout) -> GivenUp | None:
        """The candidate's failure here in this very rollout."""
        return next((one for one in self.given_up if _is_of(rollout)(one)), None)

    def is_over(self, name: str, reason: str, loads: int) -> bool:
        """Whether the candidate is not tried again here after it failed. One that there is no room for beside
        what serves costs a leave each time: it is tried again only as often as whoever decides wants to see
        it fail."""
        return for_good(reason, loads) or (self.leaving == name and reason not in UNSURE)

    def give_up(self, rollout: Rollout, failure: Failure, loads: int) -> None:
        """Drive at the stable version from here on."""
        kept = [one for one in self.given_up if not _is_of(rollout)(one)]
        self.given_up = [*kept, GivenUp(rollout.candidate, rollout.generation, failure, loads)]
        self.given_up = self.given_up[-MAX_GIVEN_UP:]
        self.leaving = ""


def _is_of(rollout: Rollout) -> Callable[[GivenUp], bool]:
    wanted = (rollout.candidate.digest, rollout.generation)
    return lambda one: (one.target.digest, one.generation) == wanted


def for_good(reason: str, loads: int) -> bool:
    """Whether another try here would end alike."""
    return reason in DEFINITE or (reason in UNSURE and loads >= FAILED_LOADS)
