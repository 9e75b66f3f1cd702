"""Events: what `kubectl describe` shows below the status. One for each turn of a condition, none at rest,
and never many: a pool that flaps tells so a few times and then is silent for a while."""

import asyncio
import logging
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

from fastserve.api.identity import GROUP
from fastserve.api.objects import Manifest
from fastserve.cluster.events import Reporter, Telling, event_of
from fastserve.cluster.leasing import LeaseLost
from fastserve.cluster.port import Cluster
from fastserve.errors import ClusterError
from fastserve.planning.objects.happenings import AnyStatus, events

LOG = logging.getLogger(__name__)
CONTROLLER: Final = f"{GROUP}/operator"
BURST: Final = 10
PER_SECOND: Final = 1 / 60
"""Events of one object: so many at once, then one a minute."""
REMEMBERED: Final = 4096


class Announcer:
    """Writes the Events of one process, called `instance`."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster = cluster
        self._instance = instance
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def announce(self, regarding: Manifest, before: AnyStatus | None, after: AnyStatus) -> None:
        """Tell what turned. An Event that cannot be written is lost: the status says the same."""
        for happening in events(before, after):
            if not self._may(str(regarding["metadata"]["uid"])):
                return
            told = Telling(happening.type, happening.reason, happening.note, happening.action)
            event = event_of(regarding, told, Reporter(CONTROLLER, self._instance), datetime.now(UTC))
            try:
                await self._cluster.create_event(regarding["metadata"]["namespace"], event)
            except LeaseLost:
                raise
            except ClusterError as error:
                LOG.info("an Event was not written: %s", error, extra={"reason": error.reason})

    def _may(self, uid: str) -> bool:
        now = asyncio.get_running_loop().time()
        tokens, at = self._left.pop(uid, (float(BURST), now))
        tokens = min(BURST, tokens + (now - at) * PER_SECOND)
        self._left[uid] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        return tokens >= 1
