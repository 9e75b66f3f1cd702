"""Asks routers what is so. Bounded in time, in number and in size: a router is a pod of somebody's
namespace, and nothing that it answers or does not answer holds up the operator."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
from pydantic import ValidationError

from fastserve.api.access import state_key
from fastserve.api.identity import ADMIN_PORT, POOL_LABEL
from fastserve.api.objects import Manifest
from fastserve.api.state import RouterState

LOG = logging.getLogger(__name__)
ASK_SECONDS: Final = 1.0
FETCH_SECONDS: Final = 5.0
AT_ONCE: Final = 16
AT_ONCE_OF_ONE_POOL: Final = 8
"""So that a pool whose routers are silent leaves turns to the others."""
ASK_ALL_SECONDS: Final = 10.0
"""For all routers of a pool; who was not asked by then has not been heard this once."""
MAX_STATE: Final = 1 << 20
MAX_ROWS: Final = 1 << 20
"""Bytes of a pool's prototypes of one sub-model: what a ConfigMap can hold."""


class RouterAsker:
    """Reads the admin ports of pods; `port` is theirs. `state_seed` is what the keys are made of that it
    shows (api/access.py); the route table tells the routers of a pool which one is theirs."""

    def __init__(
        self, client: aiohttp.ClientSession, port: int = ADMIN_PORT, state_seed: bytes = b""
    ) -> None:
        self._client = client
        self._seed = state_seed
        self._port = port
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def states(self, pods: Sequence[Manifest]) -> dict[str, RouterState]:
        """What the running ones among `pods` say of themselves, by pod uid. Who does not answer within a
        second, answers nonsense or says that it is another is not in it."""
        heard: dict[str, RouterState] = {}
        turns = asyncio.Semaphore(AT_ONCE_OF_ONE_POOL)

        async def ask(pod: Manifest) -> None:
            async with turns:
                state = await self._state(pod)
            if state is not None:
                heard[str(pod["metadata"]["uid"])] = state

        running = sorted((pod for pod in pods if is_running(pod)), key=_is_unready)
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_ALL_SECONDS), asyncio.TaskGroup() as asking:
                for pod in running:
                    asking.create_task(ask(pod))
        return heard

    async def prototypes(self, pod: Manifest, key: str) -> bytes | None:
        """The prototypes that a router keeps under `key` (a .npy file), or None where it gives none."""
        return await self._read(pod, f"/v1/prototypes/{key}", FETCH_SECONDS, MAX_ROWS)

    async def _state(self, pod: Manifest) -> RouterState | None:
        body = await self._read(pod, "/v1/state", ASK_SECONDS, MAX_STATE)
        if body is None:
            return None
        try:
            state = RouterState.model_validate_json(body)
        except ValidationError as error:
            self._note(pod, f"its state makes no sense: {error.error_count()} faults", logging.WARNING)
            return None
        if state.instance != pod["metadata"]["uid"]:  # the address was another's by the time we asked
            self._note(pod, "another router answers at its address", logging.INFO)
            return None
        return state

    async def _read(self, pod: Manifest, path: str, seconds: float, most: int) -> bytes | None:
        address = str(pod["status"]["podIP"])
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                self._turns,
                self._client.get(
                    f"http://{host}:{self._port}{path}",
                    headers=self._key_for(pod),
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status != 200:
                    self._note(pod, f"{path} is answered {answer.status}", logging.INFO)
                    return None
                return await self._whole(pod, answer, most)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._note(pod, f"{path}: {error or 'no answer in time'}", logging.DEBUG)
            return None

    def _key_for(self, pod: Manifest) -> dict[str, str]:
        metadata = pod["metadata"]
        pool = f"{metadata['namespace']}/{(metadata.get('labels') or {}).get(POOL_LABEL, '')}"
        return {"authorization": f"Bearer {state_key(self._seed, pool)}"}

    async def _whole(self, pod: Manifest, answer: aiohttp.ClientResponse, most: int) -> bytes | None:
        body = bytearray()
        async for part in answer.content.iter_chunked(1 << 16):
            body += part
            if len(body) > most:
                self._note(pod, f"it answers over {most} bytes", logging.WARNING)
                return None
        return bytes(body)

    @staticmethod
    def _note(pod: Manifest, what: str, level: int) -> None:
        metadata = pod["metadata"]
        place = {"namespace": metadata["namespace"], "pod": metadata["name"], "reason": "RouterNotAsked"}
        LOG.log(level, "a router did not tell its state: %s", what, extra=place)


def is_running(pod: Manifest) -> bool:
    """Whether there is a router to ask: the pod runs somewhere and is not on its way out."""
    status = pod.get("status") or {}
    is_leaving = "deletionTimestamp" in pod["metadata"]
    # A member's pod is Pending until its Triton runs; its router is up long before.
    return bool(status.get("podIP")) and status.get("phase") in {"Running", "Pending"} and not is_leaving


def _is_unready(pod: Manifest) -> bool:
    """Silent routers are among these, so they are asked after the others."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return not any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


@asynccontextmanager
async def routers(state_seed: bytes = b"") -> AsyncIterator[RouterAsker]:
    """A RouterAsker for as long as the block lasts. It keeps no connections: pods come and go."""
    connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client:
        yield RouterAsker(client, state_seed=state_seed)
