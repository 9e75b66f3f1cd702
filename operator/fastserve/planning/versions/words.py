"""The words of a rollout: what is asked, what was heard, what was decided."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from fastserve.api.routes import Member, Target
from fastserve.api.state import RouterState, VersionState
from fastserve.api.versions import RolloutPolicy

WHOLE = 0.999
"""A share from here on is all of the requests."""


@dataclass(frozen=True)
class Heard:
    """One replica. `instance` is its router's identity, `state` what it said of itself (None where it said
    nothing), `ready` whether it takes requests, by whoever judges that; `outgoing` that it ends by itself
    when new pods answer."""

    instance: str
    state: RouterState | None
    ready: bool
    outgoing: bool = False

    @cached_property
    def versions(self) -> tuple[VersionState, ...]:
        """What it has or failed to get."""
        return self.state.versions if self.state is not None else ()

    def version(self, digest: str) -> VersionState | None:
        return next((one for one in self.versions if one.digest == digest), None)

    def answers(self, digest: str) -> bool:
        """Whether it takes requests with this version."""
        found = self.version(digest)
        return self.ready and found is not None and found.active

    def answers_wholly(self, digest: str) -> bool:
        """Whether all of its requests are answered by this version."""
        found = self.version(digest)
        return self.answers(digest) and found is not None and found.share >= WHOLE

    @property
    def counts(self) -> bool:
        """Whether it is more than a pod of which nobody heard yet: that one loads what is stable by then."""
        return self.ready or self.state is not None

    @property
    def silent(self) -> bool:
        """Whether it takes requests and was not heard this once, which says nothing on its versions."""
        return self.ready and self.state is None


@dataclass(frozen=True)
class Asked:
    """What the SubModel asks for: `wanted` is its member with the asked version as target. `new_pods`: others
    are to take the place of those that run; `useless`: nobody needs what answers now, as the asked version
    does another task."""

    wanted: Member
    policy: RolloutPolicy
    replicas: int
    new_pods: bool = False
    useless: bool = False


class Phase(StrEnum):
    """Where a member stands between its versions."""

    REST = "Rest"
    """The asked version is the stable one."""
    HOT_SWAP = "HotSwap"
    CANARY = "Canary"
    RETURNING = "Returning"
    """A version that is not wanted any more, or was refused, is being given up."""
    PAUSED = "Paused"
    WAITING = "Waiting"
    """For new pods, or until the route table has room for one more rollout."""
    REFUSED = "Refused"
    """The stable version stays although another one is asked for."""


@dataclass(frozen=True)
class Decision:
    """The member as the table is to have it, and why, as a sentence that stays the same while nothing
    changes."""

    member: Member
    phase: Phase
    because: str


@dataclass(frozen=True)
class Fault:
    """Why a version is refused."""

    reason: str
    message: str


def counted(number: int, what: str) -> str:
    """``1 replica``, ``2 replicas``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def percent(share: str) -> str:
    return f"{float(share) * 100:.4g} %"


def name_of(target: Target) -> str:
    """A version for people: its user's name for it, or the beginning of its digest."""
    return target.version[:64] or target.digest[:12]
