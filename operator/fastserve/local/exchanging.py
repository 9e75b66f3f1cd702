"""The loop of the session's process that advances exchanges of versions: what the operator is on a cluster.

Read what is wanted and what the routers say → planning.versions.next_member → write the table if it is
another one. At rest it asks nobody; a changed `wanted.json` wakes it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from fastserve.api.routes import Member, RouteTable
from fastserve.api.state import RouterState
from fastserve.errors import BackendError
from fastserve.local.documents import ExchangeNote, Exchanges, RouterPlace, WantedPool
from fastserve.local.pool_files import (
    WANTED,
    read_table,
    read_wanted,
    shown_state_key,
    write_exchanges,
    write_table,
)
from fastserve.local.roster import Roster
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.words import Asked, Decision, Heard, Phase
from fastserve.router.table import WatchedFile
from fastserve.router.upstream import Upstream

FILE_SECONDS, ASK_SECONDS, UNPROVED_SECONDS = 0.5, 1.0, 5.0
"""Between two looks at what is wanted; at routers, while versions are exchanged; and until a version that
was loaded at once answered everywhere."""
ANSWER_SECONDS = 1.0
"""How long one router may take to tell its state."""
SILENCE_SECONDS = 10.0
"""How long a router that answered, and was not heard since, is taken to answer."""
log = logging.getLogger(__name__)


class PoolExchanges:
    """The exchanges of one pool. `now` tells the time."""

    def __init__(self, roster: Roster, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._roster, self._folder, self._now = roster, roster.place.folder, now
        self._upstreams: dict[str, Upstream] = {}
        self._wanted_file = WatchedFile(self._folder / WANTED)
        self._spoke: dict[str, tuple[datetime, bool]] = {}
        self._told = Exchanges()
        self._wait = 0.0

    async def run(self) -> None:
        """Look, for ever; what goes wrong is logged once and tried again."""
        waited, logged = 0.0, ""
        while True:
            try:
                if self._wanted_file.changed() is not None or waited >= self._wait:
                    waited, self._wait = 0.0, ASK_SECONDS  # until a look went well
                    self._wait = await self.look()
                logged = ""
            except Exception as error:  # whatever it is, the processes go on
                if logged != str(error):
                    log.exception("versions of %s cannot be decided on", self._folder.name)
                logged = str(error)
            await asyncio.sleep(FILE_SECONDS)
            waited += FILE_SECONDS

    async def look(self) -> float:
        """Decide once. Returns seconds until the next look, infinite where only a change of what is wanted
        leads on. Raises OSError or ValueError where a file cannot be read or written."""
        wanted = read_wanted(self._folder)
        heard = await self.hear()
        table = read_table(self._folder)  # which the scaler writes, too
        decisions = _decide(wanted, table, heard, self._now())
        members = tuple(decisions[member.name].member for member in wanted.table.members)
        decided = self._roster.staffed(wanted.table.model_copy(update={"members": members}))
        if decided != table:
            write_table(self._folder, decided)
        told = Exchanges(
            members={
                name: ExchangeNote(phase=one.phase, because=one.because) for name, one in decisions.items()
            }
        )
        if told != self._told:
            write_exchanges(self._folder, told)
            self._told = told
        return min((_wait(one) for one in decisions.values()), default=float("inf"))

    async def hear(self) -> Mapping[str, Sequence[Heard]]:
        """What the routers say of themselves, by sub-model."""
        routers = [router for router in self._roster.place.routers if router.member is not None]
        self._know(routers)
        states = await asyncio.gather(*(self._ask(router) for router in routers))
        heard: dict[str, list[Heard]] = {}
        for router, state in zip(routers, states, strict=True):
            one = Heard(router.instance, state, self._takes_requests(router.instance, state))
            heard.setdefault(router.member or "", []).append(one)
        return heard

    def _know(self, routers: Sequence[RouterPlace]) -> None:
        """Keep connections to these, and to no others."""
        known = self._upstreams
        self._upstreams = {one.admin: known.get(one.admin) or Upstream(one.admin) for one in routers}
        for admin in known.keys() - self._upstreams.keys():
            known[admin].close()

    def _takes_requests(self, instance: str, state: RouterState | None) -> bool:
        """By its own word, which holds for a while: a busy machine makes routers miss a second."""
        now = self._now()
        if state is not None:
            self._spoke[instance] = (now, state.ready)
            return state.ready
        at, ready = self._spoke.get(instance, (now, False))
        return ready and (now - at).total_seconds() < SILENCE_SECONDS

    async def _ask(self, router: RouterPlace) -> RouterState | None:
        try:
            shown = f"authorization: {shown_state_key(self._folder)}\r\n".encode()
            reply = await self._upstreams[router.admin].get("/v1/state", ANSWER_SECONDS, shown)
            return RouterState.model_validate_json(reply.body) if reply.status == 200 else None
        except (BackendError, OSError, ValueError):
            return None


def _decide(
    wanted: WantedPool, table: RouteTable, heard: Mapping[str, Sequence[Heard]], now: datetime
) -> dict[str, Decision]:
    before: dict[str, Member] = {member.name: member for member in table.members}
    return {
        member.name: next_member(
            before.get(member.name),
            Asked(member, wanted.policies[member.name], len(heard.get(member.name, ()))),
            heard.get(member.name, ()),
            now,
        )
        for member in wanted.table.members
    }


def _wait(decision: Decision) -> float:
    member = decision.member
    if decision.phase in (Phase.HOT_SWAP, Phase.CANARY, Phase.RETURNING):
        return ASK_SECONDS
    unproved = decision.phase is Phase.REST and member.target.digest not in member.proved
    return UNPROVED_SECONDS if unproved else float("inf")


async def exchange_versions(rosters: Sequence[Roster]) -> None:
    """Advance the exchanges of all pools, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for roster in rosters:
            group.create_task(PoolExchanges(roster).run())
