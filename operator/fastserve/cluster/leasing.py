"""Which of several replicas acts: the one that holds a Lease.

kubernetes.aio has an election, but its calls have no bound in time, so a hung write outlives the deadline;
it gives nothing back at the end; and it writes local times. This is client-go's, with its times: whether a
lease has run out is judged by how long this process has seen it unchanged, never by another's clock.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from fastserve.api.objects import LEASE, Kind, Manifest, ObjectKey
from fastserve.errors import ClusterError, NotFound

LOG = logging.getLogger(__name__)
KEPT = ("resourceVersion", "labels", "annotations", "ownerReferences")
"""Of the metadata of a Lease that somebody else made."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds: how long a holder that is silent is waited for, how long a holder acts without a renewal,
    between two attempts of others, for one call, and between two renewals of the holder's."""

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0
    call: float = 5.0
    renew: float = 2.0


class LeaseStore(Protocol):
    """What a lease needs of the API: each raises ClusterError."""

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest: ...

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest: ...

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest: ...


class LeaseLost(ClusterError):
    """This process must not act any more."""

    reason = "LeaseLost"


class Leadership:
    """The Lease `key`, as the process called `identity` sees it. While `yields` says so, others go first: it
    takes none but one that nobody renewed for the whole duration, given back or not."""

    def __init__(
        self,
        store: LeaseStore,
        key: ObjectKey,
        identity: str,
        times: LeaseTimes,
        yields: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._key = key
        self._identity = identity
        self._times = times
        self._yields = yields
        self._renewed_at = float("-inf")
        self._seen: tuple[str, float] = ("", 0.0)
        self._stored: Manifest | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process may act now."""
        return _now() - self._renewed_at < self._times.deadline

    def check(self) -> None:
        """Raise LeaseLost unless this process may act now: also after it was stopped for a while."""
        if not self.is_held:
            raise LeaseLost(f"{self._identity} does not hold the lease {self._key}")

    async def acquire(self) -> None:
        """Wait until the lease is this process's."""
        while not await self._attempt():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(self._times.retry * random.uniform(0.75, 1.0))  # noqa: S311
        LOG.info("%s holds the lease now", self._identity, extra={"reason": "LeaseAcquired"})

    async def keep(self) -> None:
        """Renew the lease for as long as that works. Raises LeaseLost when it did not for too long."""
        pause = self._times.renew
        while True:
            await asyncio.sleep(pause)
            pause = self._times.renew if await self._attempt() else self._times.retry
            self.check()

    async def release(self) -> None:
        """Give the lease back, so that another need not wait; does nothing where that fails."""
        if not self.is_held or self._stored is None:
            return
        self._renewed_at = float("-inf")
        try:
            await self._put(self._stored, holder="", duration=1)
        except (ClusterError, TimeoutError) as error:
            LOG.warning("the lease could not be given back: %s", error)

    async def _attempt(self) -> bool:
        began = _now()
        try:
            if await self._take():
                self._renewed_at = began  # by when the attempt began: nobody can have waited for less
                return True
        except (ClusterError, TimeoutError) as error:
            LOG.warning("the lease was not reached: %s", error or "no answer", extra={"reason": "Lease"})
        return False

    async def _take(self) -> bool:
        async with asyncio.timeout(self._times.call):
            try:
                found = await self._store.get(LEASE, self._key)
            except NotFound:
                self._stored = await self._store.create(LEASE, self._manifest({}, {}))
                return True
        holder = (found.get("spec") or {}).get("holderIdentity") or ""
        free = holder == self._identity or (not holder and not self._yields())
        if not free and not self._has_run_out(found):
            self._renewed_at = float("-inf")
            return False
        await self._put(found, self._identity, self._times.duration)
        return True

    def _has_run_out(self, found: Manifest) -> bool:
        version = str(found["metadata"]["resourceVersion"])
        if self._seen[0] != version:
            self._seen = (version, _now())
        spec = found.get("spec") or {}
        allowed = float(spec.get("leaseDurationSeconds") or self._times.duration)
        # One that was given back is left to others for as long as one that was not.
        return _now() - self._seen[1] > (allowed if spec.get("holderIdentity") else self._times.duration)

    async def _put(self, found: Manifest, holder: str, duration: int) -> None:
        spec = found.get("spec") or {}
        changed = self._manifest(found["metadata"], spec, holder=holder, duration=duration)
        async with asyncio.timeout(self._times.call):
            self._stored = await self._store.replace(LEASE, changed)

    def _manifest(
        self, metadata: Manifest, spec: Manifest, *, holder: str | None = None, duration: int | None = None
    ) -> Manifest:
        """The Lease to write; `metadata` and `spec` as they were found, empty where nothing was."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        holder = self._identity if holder is None else holder
        is_new = spec.get("holderIdentity") != holder
        fields: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": duration or self._times.duration,
            "renewTime": now,
            "acquireTime": now if is_new else spec.get("acquireTime", now),
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (1 if is_new and holder else 0),
        }
        names = {"namespace": self._key.namespace, "name": self._key.name}
        kept = {key: metadata[key] for key in KEPT if key in metadata}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {**names, **kept},
            "spec": fields,
        }


def _now() -> float:
    return asyncio.get_running_loop().time()
