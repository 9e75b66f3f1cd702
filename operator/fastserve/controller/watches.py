"""Keeps the watches going, in a thread with an event loop of its own: kopf cancels every task that it finds
in its loop when it ends, and it ends on answers that pass by themselves."""

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fastserve.api.objects import Kind
from fastserve.controller.vitals import Vitals
from fastserve.errors import ClusterError

LOG = logging.getLogger(__name__)
WAIT_FOR_KINDS: Final = 2.0
LONGEST_PAUSE: Final = 30.0
SOUND_SECONDS: Final = 60.0
"""Watches that ran for so long begin again without a long pause."""
STOP_SECONDS: Final = 10.0

Run = Callable[[asyncio.Event], Awaitable[None]]


class Serves(Protocol):
    """Whether the API server knows a kind. Raises ClusterError."""

    async def serves(self, kind: Kind) -> bool: ...


class WatchesHang(Exception):
    """The thread does not end; only a new process helps."""


@dataclass(frozen=True)
class WatchPlan:
    """`run` watches until its event is set, in a loop that is its own; `required` must be served before."""

    run: Run
    required: tuple[Kind, ...]
    watched: tuple[Kind, ...]


class Watches:
    """Runs a WatchPlan for ever, whatever ends it."""

    def __init__(self, api: Serves, plan: WatchPlan, vitals: Vitals) -> None:
        self._api = api
        self._plan = plan
        self._vitals = vitals

    async def keep(self) -> None:
        """Watch until cancelled. Raises WatchesHang when the thread cannot be ended then."""
        failures = 0
        while True:
            await self._required_kinds()
            self._vitals.expect(tuple(kind.plural for kind in self._plan.watched))
            began = _now()
            try:
                await _in_thread(self._plan.run)
                LOG.warning("the watches ended by themselves", extra={"reason": "WatchesEnded"})
            except Exception as error:
                LOG.warning("the watches ended: %r", error, extra={"reason": "WatchesEnded"})
            finally:
                self._vitals.expect(())
            failures = 1 if _now() - began > SOUND_SECONDS else failures + 1
            await asyncio.sleep(min(LONGEST_PAUSE, 2.0 ** min(failures - 1, 10)) * _spread())

    async def _required_kinds(self) -> None:
        """Wait until the CustomResourceDefinitions are there: kopf would never notice that they came."""
        is_told = False
        while True:
            try:
                missing = [kind.name for kind in self._plan.required if not await self._api.serves(kind)]
                if not missing:
                    return
                problem = f"{' and '.join(missing)} not served: install the CustomResourceDefinitions"
            except ClusterError as error:
                problem = str(error)
            if not is_told:
                LOG.warning("nothing can be watched yet: %s", problem, extra={"reason": "NotServed"})
                is_told = True
            await asyncio.sleep(WAIT_FOR_KINDS * _spread())


async def _in_thread(run: Run) -> None:
    """Run in a new thread with a new loop; cancelling ends both. Raises what `run` raised, WatchesHang."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    thread = _Thread(run, ended)
    thread.start()
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        thread.stop()
        done, _ = await asyncio.wait({ended}, timeout=STOP_SECONDS)
        if not done:
            raise WatchesHang(f"the watches did not end within {STOP_SECONDS:g} s") from None
        ended.exception()  # it was told to end: how does not matter
        raise


class _Thread(threading.Thread):
    def __init__(self, run: Run, ended: "asyncio.Future[None]") -> None:
        super().__init__(name="watches", daemon=True)
        self._whole = run
        self._ended = ended
        self._home = ended.get_loop()
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def stop(self) -> None:
        self._begun.wait(STOP_SECONDS)
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._main())
        except BaseException as raised:
            error = raised
        self._begun.set()
        if not self._home.is_closed():
            self._home.call_soon_threadsafe(self._tell, error)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        await self._whole(self._stop)

    def _tell(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(
                error if isinstance(error, Exception) else WatchesHang(f"the thread ended: {error!r}")
            )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _spread() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, hides nothing
