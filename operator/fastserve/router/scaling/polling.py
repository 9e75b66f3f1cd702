"""How the router that decides learns of the load: it asks every router of the pool, itself included."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from pydantic import ValidationError

from fastserve.api.scaling import LoadReport
from fastserve.errors import BackendError
from fastserve.router.caller import ROUTER_HEADER
from fastserve.router.peers import Peer
from fastserve.router.upstream import Upstream
from fastserve.scaling.ledger import Ledger

ASK_SECONDS = 1.0
HISTORY_ASK_SECONDS = 3.0
AT_ONCE = 32
MOST_BYTES = 8 << 20
log = logging.getLogger(__name__)


class LoadSource(Protocol):
    """Where load is read."""

    name: Literal["Routers", "Prometheus"]
    problem: str
    """Why the last look told nothing, or not all; empty where it did."""
    lag: float
    """Seconds by which the newest slot is late at the best."""

    async def look(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        """Read what is new into the books."""
        ...

    def close(self) -> None: ...


class RouterSource:
    """LoadSource over the routers' own ``/v1/load``. `listed` are the others; `own` makes this router's
    report, of its whole history or of the last rows; `token` is what routers of this pool show each other
    in the place of a key. Without `rows` it reads what routers say of themselves, and leaves their rows."""

    name: Literal["Routers", "Prometheus"] = "Routers"
    lag = 0.0

    def __init__(
        self,
        listed: Callable[[], Sequence[Peer]],
        own: Callable[[bool], LoadReport],
        token: Callable[[], str],
        *,
        rows: bool = True,
    ) -> None:
        self.problem = ""
        self._take = Ledger.take if rows else Ledger.hear
        self._reads_history = rows
        self._listed = listed
        self._own = own
        self._token = token
        self._known: dict[str, tuple[str, Upstream]] = {}
        self._complete: set[str] = set()
        """Instances whose whole history was read."""

    async def look(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        peers = self._listed()
        own = self._own(not self._complete)
        self._keep(peers, own.instance)
        self._take(ledger, own, clock())
        # Who is not ready, by somebody else's word, is asked and need not answer.
        ledger.expected = frozenset(
            {own.instance, *(one.instance for one in peers if one.ready is not False)}
        )
        turns = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._ask(one, ledger, clock, turns) for one in peers))
        self._complete.add(own.instance)
        unheard = ledger.unheard(clock())
        self.problem = (
            f"{len(unheard)} of {len(ledger.expected)} routers do not tell their load" if unheard else ""
        )

    def close(self) -> None:
        for _, upstream in self._known.values():
            upstream.close()
        self._known, self._complete = {}, set()

    async def _ask(
        self, peer: Peer, ledger: Ledger, clock: Callable[[], float], turns: asyncio.Semaphore
    ) -> None:
        whole = self._reads_history and peer.instance not in self._complete
        path, seconds = ("/v1/load/history", HISTORY_ASK_SECONDS) if whole else ("/v1/load", ASK_SECONDS)
        async with turns:
            try:
                upstream = self._known[peer.instance][1]
                reply = await upstream.get(path, seconds, self._lines())
                if reply.status != 200 or len(reply.body) > MOST_BYTES:
                    raise BackendError(f"{path} is answered {reply.status} with {len(reply.body)} bytes")
                report = LoadReport.model_validate_json(reply.body)
            except (BackendError, ValidationError) as error:
                log.debug("a router does not tell its load", extra={"peer": peer.instance, "why": str(error)})
                return
        if (report.instance, report.member) == (peer.instance, peer.member):
            self._take(ledger, report, clock())
            self._complete.add(peer.instance)

    def _lines(self) -> bytes:
        token = self._token()
        if not token:
            return b""
        return b"%b: %b\r\n" % (ROUTER_HEADER, token.encode())

    def _keep(self, peers: Sequence[Peer], own: str) -> None:
        """One connection to each, and none to those that are gone."""
        known: dict[str, tuple[str, Upstream]] = {}
        for peer in peers:
            address, upstream = self._known.pop(peer.instance, (peer.admin, None))
            if upstream is not None and address != peer.admin:
                upstream.close()
                upstream = None
            known[peer.instance] = (peer.admin, upstream or Upstream(peer.admin))
        for _, upstream in self._known.values():
            upstream.close()
        self._known = known
        self._complete &= {*known, own}
