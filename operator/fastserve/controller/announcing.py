"""Events: what `kubectl describe` shows below the status. One for each turn of a condition, none at rest,
and never many: a pool that flaps tells so a few times and then is silent for a while."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

from fastserve.api.identity import GROUP
from fastserve.api.objects import EVENT, Manifest
from fastserve.cluster.leasing import LeaseLost
from fastserve.cluster.port import Cluster
from fastserve.errors import ClusterError
from fastserve.planning.objects.happenings import AnyStatus, Happening, events

LOG = logging.getLogger(__name__)
CONTROLLER: Final = f"{GROUP}/operator"
MAX_REASON: Final = 128
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
            event = event_of(regarding, happening, self._instance, datetime.now(UTC))
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


def event_of(regarding: Manifest, happening: Happening, instance: str, now: datetime) -> Manifest:
    """The Event's manifest."""
    metadata = regarding["metadata"]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
        },
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": happening.type,
        "reason": happening.reason[:MAX_REASON],
        "note": happening.note,
        "action": happening.action,
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:MAX_REASON],
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
