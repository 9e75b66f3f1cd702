"""The words of a decision about objects: what to apply, what to delete, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastserve.api.objects import Kind, Manifest
from fastserve.api.routes import RouteTable, Target
from fastserve.api.state import RouterState
from fastserve.planning.plan import Rejection
from fastserve.planning.versions.words import Decision


@dataclass(frozen=True)
class Apply:
    """Apply `manifest`. `create` where nothing of that name was seen: then an object that is there all the
    same belongs to somebody else and is never taken over; else `uid` is that of the object that was seen, and
    another that has its name by then is never written to. `sub_model` is whose child it is, empty for the
    pool's own."""

    kind: Kind
    manifest: Manifest
    create: bool
    because: str
    sub_model: str = ""
    uid: str = ""

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Delete:
    """Delete the object with this uid and no other that has its name by then."""

    kind: Kind
    name: str
    uid: str
    because: str


@dataclass(frozen=True)
class ObjectPlan:
    """What one reconcile is to do. `revisions` and `targets` are the wanted revision and the version that is
    wanted, by sub-model; `recheck_after` is seconds until the next look where no event will tell.

    `table_digest` is what routers say that have the `table`, `alike_digest` what they say until they read it,
    where it differs from the one before in nothing but versions and replicas, and `just_replaced` what those
    say that have a table of that kind from before. `exchanges` are the decisions on versions, by sub-model.
    `kept` are rejected sub-models whose running revision stays as it is, with the target that it has in the
    table. `foreign` are wanted names that were seen to be taken by others. With
    `pool_rejection` nothing is applied and nothing changes for those that run, but that what is suspended
    ends."""

    apply: tuple[Apply, ...] = ()
    delete: tuple[Delete, ...] = ()
    rejected: Mapping[str, Rejection] = field(default_factory=dict)
    pool_rejection: Rejection | None = None
    table: RouteTable | None = None
    table_digest: str = ""
    alike_digest: str = ""
    just_replaced: tuple[str, ...] = ()
    revisions: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    exchanges: Mapping[str, Decision] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    foreign: tuple["WriteFailure", ...] = ()
    standby_revision: str = ""
    recheck_after: float | None = None
    because: str = ""

    def is_read_by(self, state: RouterState) -> bool:
        """Whether a router that says this knows all that a door needs of the wanted table: which version is
        on its way concerns nobody but the sub-model's own replicas, and how many of these there are to be is
        heard soon enough."""
        enough = (self.table_digest, self.alike_digest, *self.just_replaced)
        return state.table_digest != "" and state.table_digest in enough


@dataclass(frozen=True)
class WriteFailure:
    """A write that the API server refused, and what it said; `foreign` where the name is taken by an
    object that is not ours."""

    kind: Kind
    name: str
    reason: str
    message: str
    sub_model: str = ""
    foreign: bool = False
