"""From load to wishes: every member of the pool that is scaled, one look after another. What is decided is
a function of the books, the table and the time (fastserve.scaling)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fastserve.api.routes import Member, RouteTable
from fastserve.api.scaling import ScalingDecision, Staff
from fastserve.scaling.decide import Wish, decide
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.samples import Bounds, Standing
from fastserve.scaling.sharing import Claim, shared
from fastserve.scaling.warm import warm_replicas

WRITTEN_SECONDS = 10.0
"""For so long what was written counts, until the table says it too."""


@dataclass(slots=True)
class _Memory:
    """What is known of a version though nobody runs it any more, and what was written last."""

    digest: str = ""
    limit: int = 0
    pace: float = 0.0
    load_seconds: float = 0.0
    written: int = 0
    written_at: float = float("-inf")


class Decider:
    """Decides for the members of one pool; remembers what a sleeper was like."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}
        self._told: dict[str, ScalingDecision] = {}

    @property
    def decisions(self) -> tuple[ScalingDecision, ...]:
        """The last one on each."""
        return tuple(self._told[name] for name in sorted(self._told))

    def standing(
        self, member: Member, staff: Staff, ledger: Ledger, now: float, lag: float = 0.0
    ) -> Standing:
        """What is so with a member."""
        memory = self._memories.setdefault(member.name, _Memory())
        if memory.digest != member.target.digest:
            memory.digest, memory.pace = member.target.digest, 0.0
        heard = ledger.replicas(member.name, now)
        memory.limit = heard.limit or memory.limit
        memory.pace = heard.pace or memory.pace
        memory.load_seconds = heard.load_seconds or memory.load_seconds
        recent = now - memory.written_at < WRITTEN_SECONDS
        return Standing(
            replicas=memory.written if recent else staff.replicas,
            ready=heard.ready,
            load_seconds=memory.load_seconds,
            limit=memory.limit,
            pace=memory.pace,
            unplaced=staff.unplaced,
            held=ledger.held(member.name, now),
            lag=lag,
        )

    def decide(
        self, table: RouteTable, ledger: Ledger, now: float, lag: float = 0.0
    ) -> Iterator[tuple[ScalingDecision, int]]:
        """A decision on each scaled member, with the replicas that it has. `lag` is the source's."""
        scaled = {one.name: (one, one.staff) for one in table.members if one.staff is not None}
        self._memories = {name: one for name, one in self._memories.items() if name in scaled}
        self._told = {name: one for name, one in self._told.items() if name in scaled}
        stands = {
            name: self.standing(member, staff, ledger, now, lag) for name, (member, staff) in scaled.items()
        }
        wishes = {
            name: decide(ledger.samples(name, now), stands[name], bounds_of(staff, now), now)
            for name, (_, staff) in scaled.items()
        }
        wishes = _within_budget(table, wishes, stands, now)
        for name, wish in wishes.items():
            yield self._tell(name, wish, now), stands[name].replicas

    def wrote(self, decision: ScalingDecision, now: float) -> None:
        """It was carried out."""
        memory = self._memories.setdefault(decision.member, _Memory())
        memory.written, memory.written_at = decision.replicas, now

    def _tell(self, name: str, wish: Wish, now: float) -> ScalingDecision:
        """The same words for as long as the same is decided, so that a status made of them rests."""
        before = self._told.get(name)
        if before is not None and (before.replicas, before.reason) == (wish.replicas, wish.reason):
            return before
        time = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._told[name] = ScalingDecision(
            member=name,
            replicas=wish.replicas,
            wanted=wish.wanted,
            reason=wish.reason,
            message=wish.message,
            time=time,
        )
        return self._told[name]


def bounds_of(staff: Staff, now: float) -> Bounds:
    """What its user wants at this hour."""
    return Bounds(
        least=min(staff.most, max(staff.least, warm_replicas(staff.warm_windows, now))),
        most=staff.most,
        target_seconds=staff.target_queue_millis / 1000.0,
        down_delay_seconds=float(staff.scale_down_delay_seconds),
        idle_seconds=float(staff.idle_seconds),
    )


def _within_budget(
    table: RouteTable, wishes: dict[str, Wish], stands: dict[str, Standing], now: float
) -> dict[str, Wish]:
    """The wishes that the pool's GPUs allow."""
    staffs = {one.name: one.staff for one in table.members if one.staff is not None and one.staff.gpus}
    if table.scaling.max_gpus is None or not staffs:
        return wishes
    claims = {
        name: Claim(
            wanted=wishes[name].replicas,
            running=stands[name].replicas,
            least=bounds_of(staff, now).least or (1 if stands[name].held else 0),
            gpus=staff.gpus,
        )
        for name, staff in staffs.items()
    }
    given = shared(claims, table.scaling.max_gpus)
    return {name: _cut(wish, given.get(name, wish.replicas), table) for name, wish in wishes.items()}


def _cut(wish: Wish, replicas: int, table: RouteTable) -> Wish:
    if replicas >= wish.replicas:
        return wish
    text = f"the pool's sub-models share {table.scaling.max_gpus} GPUs; {wish.message}"
    return replace(wish, replicas=replicas, reason="Budget", message=text)
