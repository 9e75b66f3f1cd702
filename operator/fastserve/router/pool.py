"""What this router's doors know of the pool: the table, the prototypes, who is ready, who sleeps."""

from dataclasses import dataclass, field

from fastserve.api.routes import Member
from fastserve.router.answers import Refusal
from fastserve.router.peers import Peers
from fastserve.router.picking import pick
from fastserve.router.replicas import Replica
from fastserve.router.scaling.meter import Meter
from fastserve.router.scaling.waking import Waking
from fastserve.router.selection import Prototypes
from fastserve.router.serving import OwnReplica
from fastserve.router.table import TableSnapshot


@dataclass(eq=False)
class Pool:
    """References that are exchanged whole: `snapshot` by the table's loop, `prototypes` and `unselectable`
    (why a sub-model has none) by the prototypes' loop. Readers take each once per request."""

    name: str
    own: OwnReplica | None
    peers: Peers
    snapshot: TableSnapshot | None = None
    prototypes: Prototypes = field(default_factory=lambda: Prototypes.of({}))
    unselectable: dict[str, str] = field(default_factory=dict)
    table_error: str = "the route table was not read yet"
    meter: Meter = field(default_factory=Meter)
    waking: Waking = field(init=False)
    _labels: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)
    """What sub-models answered with as long as they had replicas."""

    def __post_init__(self) -> None:
        self.waking = Waking(self, self.meter)

    def table(self) -> TableSnapshot:
        """The snapshot; raises Refusal RouterStarting where there is none yet."""
        if self.snapshot is None:
            raise Refusal("RouterStarting", f"the pool {self.name} is not known yet: {self.table_error}")
        return self.snapshot

    @property
    def tenant_header(self) -> bytes:
        """Name of the header that tells callers apart, in lower case; empty where nothing does."""
        return self.snapshot.tenant_header if self.snapshot else b""

    @property
    def audited(self) -> bool:
        """Whether every answered request is to be logged."""
        return self.snapshot is not None and self.snapshot.table.access.audit

    def member(self, name: str) -> Member:
        """Raises Refusal ModelUnknown, naming the models that there are."""
        snapshot = self.table()
        member = snapshot.members.get(name)
        if member is None:
            known = ", ".join((self.name, *snapshot.names))
            raise Refusal("ModelUnknown", f"there is no model {name!r} (known: {known})")
        return member

    def replicas(self, member: str) -> list[Replica]:
        """All places of a sub-model, this router's own first."""
        own: list[Replica] = [self.own] if self.own is not None and self.own.member == member else []
        return [*own, *self.peers.of(member)]

    def replica(self, member: str, now: float, *, other_than: Replica | None = None) -> Replica | None:
        """A ready place of a sub-model; the own one, where it is not busier, because it saves a hop. With
        `other_than` any but that one, and none on trial: who asks again wants an answer."""
        if other_than is not None:
            return pick([one for one in self.replicas(member) if one is not other_than], now)
        everywhere = self.replicas(member)
        trial = next((one for one in everywhere if one.ready and one.conduct.trial_due(now)), None)
        if trial is not None:
            return trial
        chosen, own = pick(everywhere, now), self.own
        if chosen is None or own is None or own.member != member or not own.ready or own.conduct.ejected:
            return chosen
        return own if own.in_flight <= chosen.in_flight else chosen

    def ready(self) -> frozenset[str]:
        """Names of the sub-models that can be asked now."""
        if self.snapshot is None:
            return frozenset()
        return frozenset(name for name in self.snapshot.names if self.is_ready(name))

    def asleep(self) -> frozenset[str]:
        """Names of the sub-models that have no replica until they are asked."""
        return self.waking.asleep()

    def sleeps(self, member: str) -> bool:
        return self.waking.sleeps(member)

    def is_ready(self, member: str) -> bool:
        own = self.own
        if own is not None and own.member == member and own.ready:
            return True
        return any(peer.ready for peer in self.peers.of(member))

    def more_come(self) -> bool:
        """Whether the own sub-model can get more replicas, or some are on their way."""
        own, snapshot = self.own, self.snapshot
        member = snapshot.members.get(own.member) if own is not None and snapshot is not None else None
        if member is None or member.staff is None:
            return False
        ready = self.count_ready(member.name)
        return member.staff.replicas < member.staff.most or ready < member.staff.replicas

    def count_ready(self, member: str) -> int:
        """Replicas that can be asked now."""
        return sum(one.ready for one in self.replicas(member))

    def places(self, member: str, texts: int) -> int:
        """How many places so many texts take at a sub-model's gate, as far as that is known here."""
        if texts <= 1 or self.snapshot is None:
            return 1
        return -(-texts // self.snapshot.batches.get(member, texts))

    def labels(self, member: str) -> tuple[str, ...]:
        """What a sub-model can answer, as far as any replica told; of one that sleeps as it was before."""
        labels = next((one.labels for one in self.replicas(member) if one.labels), ())
        if labels:
            self._labels[member] = labels
            return labels
        return self._labels.get(member, ()) if self.sleeps(member) else ()

    def version(self, member: str) -> str:
        return next((one.version for one in self.replicas(member) if one.ready), "")
