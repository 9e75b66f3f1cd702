"""Who serves a pool now, as the loops of the session's process tell each other."""

from dataclasses import dataclass

from fastserve.api.routes import Member, RouteTable
from fastserve.local.documents import PoolPlace


@dataclass
class Roster:
    """The place of a pool with the replicas that serve now. Those that are to end are not among them."""

    place: PoolPlace

    def staffed(self, table: RouteTable) -> RouteTable:
        """`table` with the replicas that are to run."""
        return table.model_copy(update={"members": tuple(map(self._staffed, table.members))})

    def _staffed(self, member: Member) -> Member:
        count = self.place.counts.get(member.name)
        if member.staff is None or count is None:
            return member
        numbers = {"replicas": count.replicas, "asked": count.said, "unplaced": count.unplaced}
        return member.model_copy(update={"staff": member.staff.model_copy(update=numbers)})
