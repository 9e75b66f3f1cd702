"""The operator's process, put together: who acts, what it watches, what it looks at, how it ends."""

import asyncio
import logging
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import ClientResponse

from fastserve.api.objects import MODEL_POOL, SUB_MODEL, Kind, Manifest, ObjectKey
from fastserve.cluster.kube import KubeCluster, connected
from fastserve.cluster.leasing import Leadership, LeaseLost
from fastserve.cluster.login import Login, login
from fastserve.cluster.session import Observer, Request
from fastserve.cluster.throttle import TokenBucket
from fastserve.controller import wiring
from fastserve.controller.announcing import Announcer
from fastserve.controller.asking import routers
from fastserve.controller.keys import WATCHED, PoolIndex
from fastserve.controller.metrics import Metrics
from fastserve.controller.probes import probes
from fastserve.controller.racing import first_of
from fastserve.controller.reconcile import Reconciler
from fastserve.controller.reporting import Reporter
from fastserve.controller.settings import OperatorSettings
from fastserve.controller.vitals import Vitals
from fastserve.controller.watches import Watches, WatchPlan
from fastserve.controller.workqueue import Outcome, WorkQueue
from fastserve.errors import ClusterError

LOG = logging.getLogger(__name__)
BEAT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 3.0


@dataclass
class _Acting:
    """The queue of this turn at acting; none while another replica acts."""

    queue: WorkQueue | None = None

    def depth(self) -> int:
        return self.queue.depth if self.queue else 0


class Operator:
    """One replica. `login` says how to reach the API server."""

    def __init__(self, settings: OperatorSettings, login: Login) -> None:
        self._settings = settings
        self._login = login
        self._acting = _Acting()
        self._vitals = Vitals()
        self._metrics = Metrics(self._vitals, self._acting.depth)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End soon, and well."""
        self._stop.set()

    async def run(self) -> None:
        """Act whenever the lease is ours, until told to stop; then give it back. Raises WatchesHang."""
        observer = Observer(lambda _: None, self._metrics.requested)
        async with AsyncExitStack() as stack:
            stack.enter_context(probes(self._settings.listen, self._vitals, self._metrics.registry))
            unasked = await stack.enter_async_context(connected(self._login, observer=observer))
            key = ObjectKey(self._settings.namespace, self._settings.lease_name)
            leadership = Leadership(unasked, key, self._settings.pod_name, self._settings.lease_times)
            bucket = TokenBucket(self._settings.writes.per_second, self._settings.writes.burst)

            async def before_write() -> None:
                await bucket.take()
                leadership.check()

            cluster = await stack.enter_async_context(connected(self._login, before_write, observer))
            try:
                await first_of(self._stop.wait(), self._turns(leadership, cluster), self._beat(unasked))
            finally:
                await leadership.release()

    async def _turns(self, leadership: Leadership, cluster: KubeCluster) -> None:
        """Wait for the lease, act while it is held, and so on. To lose it is no reason to end: an API
        server that is away for hours takes it from everybody."""
        while True:
            await leadership.acquire()
            self._vitals.is_leader = True
            try:
                await first_of(leadership.keep(), self._act(cluster))
            except LeaseLost as error:
                LOG.warning("no longer acting: %s", error, extra={"reason": error.reason})
            finally:
                self._vitals.is_leader = False

    async def _act(self, cluster: KubeCluster) -> None:
        announcer = Announcer(cluster, self._settings.pod_name)
        reporter = Reporter(cluster, announcer, self._settings.objects.cluster_domain)
        async with routers(self._settings.objects.state_seed) as asker:
            reconciler = Reconciler(cluster, asker, reporter, lambda: datetime.now(UTC))

            async def look(key: ObjectKey) -> Outcome:
                return await reconciler.reconcile(key, self._settings.objects)

            queue = self._acting.queue = WorkQueue(look, self._settings.pace, self._metrics.looked)
            try:
                await first_of(queue.run(), self._watches(cluster, queue).keep())
            finally:
                self._acting.queue = None

    def _watches(self, cluster: KubeCluster, queue: WorkQueue) -> Watches:
        """Watches that tell the queue; kopf's thread calls `seen`, the queue is told in its own."""
        home, index = asyncio.get_running_loop(), PoolIndex()

        def seen(kind: Kind, manifest: Manifest, is_gone: bool) -> None:
            key = index.pool_of(kind, manifest, is_gone=is_gone)
            if key is not None and not home.is_closed():
                home.call_soon_threadsafe(queue.add, key)

        observer = Observer(self._vitals.begun, self._tell_both)
        watching = wiring.Watching(WATCHED, self._settings.namespaces, self._login, seen, observer)
        plan = WatchPlan(lambda stop: wiring.watch(watching, stop), (MODEL_POOL, SUB_MODEL), WATCHED)
        return Watches(cluster, plan, self._vitals)

    def _tell_both(self, request: Request, status: int, response: ClientResponse | None) -> None:
        self._vitals.ended(request, status, response)
        self._metrics.requested(request, status, response)

    async def _beat(self, cluster: KubeCluster) -> None:
        """Tell that the loop turns, and once that the API server answered."""
        while True:
            self._vitals.beat()
            if not self._vitals.is_started:
                self._vitals.is_started = await _answers(cluster)
            await asyncio.sleep(BEAT_SECONDS)


async def _answers(cluster: KubeCluster) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await cluster.serves(MODEL_POOL)
    except (ClusterError, TimeoutError):
        return False
    return True


async def serve(settings: OperatorSettings, environment: Mapping[str, str]) -> None:
    """Run one replica until SIGTERM or SIGINT."""
    operator = Operator(settings, await login(environment))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, operator.stop)
    await operator.run()
