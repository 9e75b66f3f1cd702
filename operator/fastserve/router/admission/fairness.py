"""Who goes next among those that wait, and who goes without where there is no more room. Pure.

Two bands: interactive before batch, but for every tenth turn. Within a band the tenants take turns, and a
tenant's own requests are served in the order in which they came (Nagle's fair queueing, RFC 970). Room is
kept by the same rule: who has the most waiting loses the newest.

Every step takes the same time however many tenants there are: their names come from outside.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fastserve.router.caller import Caller, Priority

TURNS = 10
"""Of so many turns one is batch's, where both wait; of as much room as well."""


@dataclass(eq=False, slots=True)
class Ticket:
    """One that waits. `deadline` is in the loop's time, `since` when it began to wait."""

    caller: Caller
    deadline: float
    since: float


Kind = TypeVar("Kind", bound=Ticket)


@dataclass(eq=False, slots=True)
class _Band(Generic[Kind]):
    """One priority. `tenants` are in the order of their turns, `order` is by arrival."""

    tenants: OrderedDict[str, OrderedDict[Kind, None]] = field(default_factory=OrderedDict)
    order: OrderedDict[Kind, None] = field(default_factory=OrderedDict)
    sizes: dict[int, OrderedDict[str, None]] = field(default_factory=dict)
    """Tenants by how many they have waiting."""
    most: int = 0
    """The largest of these."""

    def waiting(self, tenant: str) -> int:
        own = self.tenants.get(tenant)
        return len(own) if own else 0

    def add(self, ticket: Kind) -> None:
        tenant = ticket.caller.tenant
        own = self.tenants.setdefault(tenant, OrderedDict())
        own[ticket] = self.order[ticket] = None
        self._resized(tenant, len(own) - 1, len(own))

    def remove(self, ticket: Kind) -> None:
        """Raises KeyError where it does not wait here."""
        tenant = ticket.caller.tenant
        del self.order[ticket]
        own = self.tenants[tenant]
        del own[ticket]
        if not own:
            del self.tenants[tenant]
        self._resized(tenant, len(own) + 1, len(own))

    def next(self) -> Kind:
        """The oldest of the tenant whose turn it is; the tenant goes to the end of the line."""
        tenant, own = next(iter(self.tenants.items()))
        ticket = next(iter(own))
        self.tenants.move_to_end(tenant)
        self.remove(ticket)
        return ticket

    def newest_of_most(self) -> Kind:
        """The newest of a tenant that has the most waiting."""
        return next(reversed(self.tenants[next(reversed(self.sizes[self.most]))]))

    def _resized(self, tenant: str, before: int, after: int) -> None:
        if before:
            tenants = self.sizes[before]
            del tenants[tenant]
            if not tenants:
                del self.sizes[before]
        if after:
            self.sizes.setdefault(after, OrderedDict())[tenant] = None
        if after > self.most or self.most not in self.sizes:
            self.most = after


class FairQueue(Generic[Kind]):
    """Those that wait, each of them once."""

    def __init__(self) -> None:
        self._bands: tuple[_Band[Kind], _Band[Kind]] = (_Band(), _Band())
        self._turns = 0
        """That interactive ones took since batch had one, while batch waited."""

    def __len__(self) -> int:
        interactive, batch = self._bands
        return len(interactive.order) + len(batch.order)

    def count(self, priority: Priority) -> int:
        return len(self._bands[priority].order)

    def add(self, ticket: Kind) -> None:
        self._bands[ticket.caller.priority].add(ticket)

    def remove(self, ticket: Kind) -> bool:
        """Whether it was waiting."""
        band = self._bands[ticket.caller.priority]
        if ticket not in band.order:
            return False
        band.remove(ticket)
        return True

    def next(self) -> Kind | None:
        """Takes out whose turn it is; None where nobody waits."""
        interactive, batch = self._bands
        if not batch.order:
            self._turns = 0
            return interactive.next() if interactive.order else None
        if interactive.order and self._turns < TURNS - 1:
            self._turns += 1
            return interactive.next()
        self._turns = 0
        return batch.next()

    def ahead(self, caller: Caller) -> int:
        """How many will be served before a request of this caller that comes now, by what waits now. Those
        of its own tenant are, and as many turns of every other one; batch also waits for nine interactive
        ones each turn while such wait."""
        band = self._bands[caller.priority]
        own = band.waiting(caller.tenant)
        tenants = len(band.tenants) + (own == 0)
        place = min(len(band.order), (own + 1) * tenants - 1)
        interactive, batch = self._bands
        if band is interactive:
            return place + min(len(batch.order), place // (TURNS - 1))
        return place + min(len(interactive.order), (TURNS - 1) * (place + 1))

    def outranked(self, caller: Caller, room: int) -> Kind | None:
        """Who is to make room for a new request of this caller, where all the `room` is taken; None where
        nobody is, and the new one goes without.

        Interactive ones push out the newest batch one, and batch ones the newest interactive one while
        batch has less than its tenth. Else a tenant with at least two more waiting than the caller's loses
        its newest: with one more they would only change places.
        """
        interactive, batch = self._bands
        share, waiting = batch_share(room), len(batch.order)
        if caller.priority is Priority.INTERACTIVE:
            if waiting > share:
                return next(reversed(batch.order))
            return _fairer(interactive, caller)
        if waiting < share and interactive.order:
            return interactive.newest_of_most()
        return _fairer(batch, caller)


def batch_share(room: int) -> int:
    """How much of the room interactive requests leave to batch."""
    return max(1, room // TURNS) if room > 1 else 0


def _fairer(band: _Band[Kind], caller: Caller) -> Kind | None:
    return band.newest_of_most() if band.most > band.waiting(caller.tenant) + 1 else None
