"""From load to wishes: every member of the pool that is scaled, one look after another. What is decided is
a function of the books, the table and the time (fastserve.scaling)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fastserve.api.routes import Member, RouteTable
from fastserve.api.scaling import ScalingDecision, ScalingMode, Staff
from fastserve.scaling.decide import Wish, decide
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.samples import Bounds, Standing
from fastserve.scaling.sharing import Claim, shared
from fastserve.scaling.warm import warm_replicas

WRITTEN_SECONDS = 10.0
"""For so long what was written counts, until the table says it too."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Memory:
    """What is known of a version though nobody runs it any more, and what was written last."""

    digest: str = ""
    limit: int = 0
    pace: float = 0.0
    load_seconds: float = 0.0
    written: int = 0
    written_at: float = float("-inf")

    def counts(self, now: float) -> bool:
        """Whether what was written is newer than the table; not where the clock was put since."""
        return abs(now - self.written_at) < WRITTEN_SECONDS


@dataclass(frozen=True, slots=True)
class Source:
    """When is decided, and by how much the newest slot may be late."""

    now: float
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class Reckoned:
    """A wish, and what it is made of."""

    name: str
    standing: Standing
    bounds: Bounds
    staff: Staff
    wish: Wish


@dataclass(frozen=True, slots=True)
class Settled:
    """A decision on so many replicas that are to run, `asked` for by the spec."""

    decision: ScalingDecision
    before: int
    asked: int
    mode: ScalingMode

    @property
    def is_to_write(self) -> bool:
        return self.mode is ScalingMode.BUILTIN and self.decision.replicas != self.asked


class Decider:
    """Decides for the members of one pool; remembers what a sleeper was like."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}
        self._told: dict[str, ScalingDecision] = {}

    @property
    def decisions(self) -> tuple[ScalingDecision, ...]:
        """The last one on each."""
        return tuple(self._told[name] for name in sorted(self._told))

    def reckon(self, member: Member, staff: Staff, ledger: Ledger, source: Source) -> Reckoned:
        """What is to be done about one member, were it alone. A fault in its figures is no other's matter."""
        now = source.now
        standing = self._standing(member, staff, ledger, source)
        bounds = bounds_of(staff, now)
        try:
            wish = decide(ledger.samples(member.name, now), standing, bounds, now)
        except (ArithmeticError, ValueError) as error:
            log.warning("nothing can be decided", extra={"member": member.name, "why": repr(error)})
            text = "what the routers told makes no sense; nothing is changed"
            wish = Wish(standing.replicas, standing.replicas, "MetricsMissing", text)
        return Reckoned(member.name, standing, bounds, staff, wish)

    def settle(self, table: RouteTable, reckoned: Sequence[Reckoned], now: float) -> list[Settled]:
        """The decisions on all members, within the pool's budget."""
        known = {one.name for one in reckoned}
        self._memories = {name: one for name, one in self._memories.items() if name in known}
        self._told = {name: one for name, one in self._told.items() if name in known}
        wishes = _within_budget(table, reckoned)
        return [
            Settled(
                self._tell(one.name, wishes[one.name], now),
                one.standing.replicas,
                self._asked(one, now),
                one.staff.mode,
            )
            for one in reckoned
        ]

    def _standing(self, member: Member, staff: Staff, ledger: Ledger, source: Source) -> Standing:
        """What is so with a member. What it can do is remembered while it sleeps, of the same version."""
        now, memory = source.now, self._memories.setdefault(member.name, _Memory())
        heard = ledger.replicas(member.name, now)
        if memory.digest != member.target.digest:
            memory.digest, memory.pace = member.target.digest, 0.0
        memory.limit = heard.limit or memory.limit
        memory.pace = heard.pace if heard.ready else memory.pace
        memory.load_seconds = heard.load_seconds or memory.load_seconds
        recent = memory.counts(now)
        return Standing(
            replicas=min(staff.most, max(staff.least, memory.written)) if recent else staff.replicas,
            ready=heard.ready,
            load_seconds=memory.load_seconds,
            limit=memory.limit,
            pace=memory.pace,
            unplaced=staff.unplaced,
            held=ledger.held(member.name, now),
            stirred=heard.stirred,
            proved=member.target.digest in member.proved,
            lag=source.lag,
        )

    def _asked(self, one: Reckoned, now: float) -> int:
        """What stands in the spec, as far as is known."""
        memory = self._memories[one.name]
        return memory.written if memory.counts(now) else one.staff.asked

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


def _within_budget(table: RouteTable, reckoned: Sequence[Reckoned]) -> dict[str, Wish]:
    """The wishes that the pool's GPUs allow."""
    wishes = {one.name: one.wish for one in reckoned}
    if table.scaling.max_gpus is None:
        return wishes
    claims = {one.name: _claim(one) for one in reckoned if one.staff.gpus}
    given = shared(claims, table.scaling.max_gpus)
    return {name: _cut(wish, given.get(name, wish.replicas), table) for name, wish in wishes.items()}


def _claim(one: Reckoned) -> Claim:
    """One that is not idle keeps a replica, and of one that nobody can judge all stay."""
    wanted, running = one.wish.replicas, one.standing.replicas
    unknown = one.wish.reason in ("MetricsMissing", "MetricsPartial")
    least = max(one.bounds.least, min(1, wanted), min(running, wanted) if unknown else 0)
    return Claim(wanted, running, least, one.staff.gpus)


def _cut(wish: Wish, replicas: int, table: RouteTable) -> Wish:
    if replicas >= wish.replicas:
        return wish
    text = f"the pool's sub-models share {table.scaling.max_gpus} GPUs; {wish.message}"
    return replace(wish, replicas=replicas, reason="Budget", message=text)
