"""kopf, and all of it that we use: login, list and watch, reconnection. The only file that knows it.

Handlers do nothing but say which object changed. There is no handler of changes, no finalizer, no
annotation, no posting, no peering: kopf writes nothing (reference: only `on.event` is level-triggered).
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, cast

import kopf

from fastserve.api.identity import FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL
from fastserve.api.objects import MODEL_POOL, SUB_MODEL, Kind, Manifest
from fastserve.cluster.login import Login
from fastserve.cluster.session import NO_LIMIT, Observer, open_client

BACKOFFS: Final = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0)
LONGEST_BACKOFF: Final = 10.0
RELOGIN_SECONDS: Final = 5.0
ENDING_ATTEMPTS: Final = 25
OWN_KINDS: Final = (MODEL_POOL, SUB_MODEL)

Seen = Callable[[Kind, Manifest, bool], None]


class EndlessBackoffs:
    """Seconds between attempts at one request, for ever: with an end, kopf ends the whole operator after a
    minute of a sick API server. Iterable anew for each request, with jitter."""

    def __iter__(self) -> Iterator[float]:
        for seconds in BACKOFFS:
            yield seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, hides nothing
        while True:
            yield LONGEST_BACKOFF * random.uniform(0.8, 1.0)  # noqa: S311


class NoEssence(kopf.DiffBaseStorage):
    """kopf copies each object that it hears of, to tell later what changed; nothing here asks that. Copying
    was a third of what watching cost."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """There is nothing to store."""


@dataclass(frozen=True)
class Watching:
    """What to watch, as whom, and who is told: `seen` of each object with its kind and whether it is gone,
    `observer` of each request. No `namespaces`: all of them."""

    kinds: tuple[Kind, ...]
    namespaces: tuple[str, ...]
    login: Login
    seen: Seen
    observer: Observer


async def watch(watching: Watching, stop: asyncio.Event) -> None:
    """Watch until `stop` is set. Raises whatever ended kopf: it gives up on answers that it does not expect
    (401, 404, 410, garbage), and whoever calls starts it again."""
    others = asyncio.all_tasks()
    async with AsyncExitStack() as clients:
        tasks = await kopf.spawn_tasks(
            registry=_registry(watching, clients),
            settings=_settings(watching.kinds),
            standalone=True,
            # Without one kopf looks for the name of a user, and a container's uid has none.
            identity=cast("Any", FIELD_MANAGER),
            clusterwide=not watching.namespaces,
            namespaces=list(watching.namespaces),
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end_all_but(others)
    for task in done - {stopping}:
        task.result()


async def _end_all_but(others: set["asyncio.Task[Any]"]) -> None:
    """End kopf's tasks. Its own way of ending hangs when a watch failed: the other watches, left without
    credentials, take their cancellation for a pause and go on; so they are told more than once. Those that
    start the others come last: what waits for them would never run."""
    for _ in range(ENDING_ATTEMPTS):
        left = asyncio.all_tasks() - others
        if not left:
            return
        ending = {task for task in left if not _starts_others(task)} or left
        for task in ending:
            task.cancel()
        await asyncio.wait(ending, timeout=0.2)


def _starts_others(task: "asyncio.Task[Any]") -> bool:
    """Whether it is one of the two that each of kopf's schedulers is made of; only its name tells."""
    return task.get_name().startswith(("spawner of ", "cleaner of "))


def _registry(watching: Watching, clients: AsyncExitStack) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    last_login = float("-inf")

    async def log_in(**_: Any) -> kopf.AiohttpSession:
        # Asked again after each 401; a server that answers nothing else is not to be asked in a hurry.
        nonlocal last_login
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, last_login + RELOGIN_SECONDS - now))
        last_login = asyncio.get_running_loop().time()
        client = await clients.enter_async_context(open_client(watching.login, watching.observer, NO_LIMIT))
        return kopf.AiohttpSession(server=watching.login.server, aiohttp_session=client)

    kopf.on.login(registry=registry)(log_in)
    for kind in watching.kinds:
        kopf.on.event(*_selector(kind), registry=registry, id=kind.plural)(_handler(kind, watching.seen))
    return registry


def _handler(kind: Kind, seen: Seen) -> Callable[..., Any]:
    async def tell(event: Any, **_: Any) -> None:
        seen(kind, event["object"], event["type"] == "DELETED")

    return tell


def _selector(kind: Kind) -> tuple[str, str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return group, version, kind.plural


def _settings(kinds: Sequence[Kind]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 270
    settings.watching.inactivity_timeout = 70
    settings.watching.reconnect_backoff = 1
    settings.watching.chunk_size = 500
    for kind in kinds:
        if kind not in OWN_KINDS:
            settings.watching.label_selectors[_selector(kind)] = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
    settings.queueing.idle_timeout = 1
    settings.queueing.exit_timeout = 1
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoEssence()
    # Scanning watches CRDs and namespaces of the whole cluster, which this operator has no right to; that
    # our kinds are served is asked before each start (controller/watches.py).
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None  # it would kill the whole process
    return settings
