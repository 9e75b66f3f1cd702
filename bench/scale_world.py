"""Many pools, all alike: made at once, changed one after another, and looked at as a whole."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp

from fastserve.api.identity import MANAGED_BY, MANAGED_BY_LABEL, POOL_LABEL, SUBMODEL_LABEL
from fastserve.api.objects import (
    CHILD_KINDS,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    MODEL_POOL,
    SUB_MODEL,
    Kind,
    Manifest,
    ObjectKey,
)
from fastserve.cluster.kube import KubeCluster
from fastserve.cluster.paths import collection_path, object_path
from fastserve.cluster.port import Selector
from fastserve.errors import NotFound

MEMBERS = 3
USERS = 8
"""Requests of users at once."""
CHANGES_PER_SECOND = 2.0
TOLD_SECONDS = 120.0
POOL_CHILDREN = {
    "ServiceAccount": 1, "Role": 1, "RoleBinding": 1, "ConfigMap": 1, "Service": 1, "NetworkPolicy": 1,
    "ControllerRevision": 1, "Deployment": 1,
}  # fmt: skip
MEMBER_CHILDREN = {"Service": 1, "ControllerRevision": 1, "Deployment": 1}
"""Of one with one replica, besides a revision that is kept for undoing."""
OURS = {MANAGED_BY_LABEL: MANAGED_BY}
PATCH = "application/merge-patch+json"


class ScaleWorld:
    """`count` pools, spread over `spaces`."""

    def __init__(self, client: aiohttp.ClientSession, server: str, spaces: Sequence[str], count: int) -> None:
        self._client = client
        self._server = server
        self._cluster = KubeCluster(client, server)
        self._spaces = spaces
        self._keys = [ObjectKey(spaces[number % len(spaces)], f"pool-{number}") for number in range(count)]
        self._pause = 2.0
        self._turns = asyncio.Semaphore(USERS)

    async def create(self) -> None:
        """Make all pools, as fast as the API server takes them."""
        await asyncio.gather(*(self._make(key) for key in self._keys))

    async def churn(self, seconds: float, dice: random.Random) -> list[float]:
        """Change, remake, delete and make pools and sub-models for so long; the seconds from each edit until
        the object's status spoke of it."""
        end, waits = time.monotonic() + seconds, []
        while time.monotonic() < end:
            began = time.monotonic()
            kind, key = await self._change(dice)
            waits.append(asyncio.create_task(self._told(kind, key)))
            await asyncio.sleep(max(0.0, 1 / CHANGES_PER_SECOND - (time.monotonic() - began)))
        return list(await asyncio.gather(*waits))

    async def _told(self, kind: Kind, key: ObjectKey) -> float:
        """Seconds until the status speaks of the current generation, looked at four times a second."""
        began = time.monotonic()
        while time.monotonic() - began < TOLD_SECONDS:
            with suppress(NotFound):
                one = await self._cluster.get(kind, key)
                if (one.get("status") or {}).get("observedGeneration") == one["metadata"]["generation"]:
                    break
            await asyncio.sleep(0.25)
        return time.monotonic() - began

    async def converged(self, seconds: float) -> float:
        """Wait until nothing is missing, too much or untold; the seconds it took. Raises TimeoutError."""
        began, shown = time.monotonic(), 0.0
        while problems := await self._problems():
            passed = time.monotonic() - began
            if passed > seconds:
                raise TimeoutError(f"{len(problems)} objects after {seconds:g} s, e.g. {problems[0]}")
            if passed - shown > 20:
                shown = passed
                print(f"  {passed:.0f} s: {len(problems)} objects to go, e.g. {problems[0]}", flush=True)
            await asyncio.sleep(self._pause)
        return time.monotonic() - began

    async def objects(self) -> int:
        """Children, pools and sub-models that there are."""
        return sum(len(found) for found in (await self._everything()).values())

    async def _everything(self) -> Mapping[Kind, list[Manifest]]:
        found: dict[Kind, list[Manifest]] = {}
        for kind in (MODEL_POOL, SUB_MODEL, *CHILD_KINDS):
            chosen = Selector() if kind in {MODEL_POOL, SUB_MODEL} else Selector(labels=OURS)
            lists = [await self._cluster.list_of(kind, space, chosen) for space in self._spaces]
            found[kind] = [one for items in lists for one in items]
        return found

    async def _problems(self) -> list[str]:
        """What is not yet as it should be, a line for each pool or sub-model."""
        began = time.monotonic()
        found = await self._everything()
        self._pause = max(2.0, 4 * (time.monotonic() - began))  # who looks shall not be the load
        counts: dict[tuple[ObjectKey, str, str], int] = {}
        working = _working(found[DEPLOYMENT])
        for kind in CHILD_KINDS:
            for one in found[kind]:
                labels = one["metadata"]["labels"]
                key = _key(one, labels[POOL_LABEL])
                if kind == CONTROLLER_REVISION and (key, one["metadata"]["name"]) not in working:
                    continue  # the one before, which is kept for undoing
                spot = (key, labels.get(SUBMODEL_LABEL, ""), kind.name)
                counts[spot] = counts.get(spot, 0) + 1
        problems = {}
        for key, owner, what, wanted in self._wanted(found):
            if counts.pop((key, owner, what), 0) != wanted:
                problems[key] = f"{key}: {what} of {owner or 'the pool'}"
        problems |= {key: f"{key}: {what} of {owner} is too much" for key, owner, what in counts}
        for one in (*found[MODEL_POOL], *found[SUB_MODEL]):
            told = (one.get("status") or {}).get("observedGeneration")
            if told != one["metadata"]["generation"]:
                name = one["metadata"]["name"]
                problems[_key(one, name)] = f"{name} tells of {told}, is at {one['metadata']['generation']}"
        return [problems[key] for key in sorted(problems)]

    @staticmethod
    def _wanted(found: Mapping[Kind, list[Manifest]]) -> list[tuple[ObjectKey, str, str, int]]:
        pools = {_key(one, one["metadata"]["name"]) for one in found[MODEL_POOL]}
        wanted = [(key, "", kind, count) for key in pools for kind, count in POOL_CHILDREN.items()]
        for one in found[SUB_MODEL]:
            key = _key(one, one["spec"]["poolRef"]["name"])
            if key in pools:
                name = one["metadata"]["name"]
                wanted += [(key, name, kind, count) for kind, count in MEMBER_CHILDREN.items()]
        return wanted

    async def _change(self, dice: random.Random) -> tuple[Kind, ObjectKey]:
        """Change something; what was changed."""
        key = dice.choice(self._keys)
        member = ObjectKey(key.namespace, f"{key.name}-{dice.randrange(MEMBERS)}")
        word, chance = f"w{dice.randrange(10**6)}", dice.random()
        kind, target = (SUB_MODEL, member) if chance < 0.65 else (MODEL_POOL, key)
        if chance < 0.3:
            await self._edit(kind, target, {"examples": [f"a text about {word}"]})
        elif chance < 0.5:
            await self._edit(kind, target, {"podTemplate": {"env": [{"name": "WORD", "value": word}]}})
        elif chance < 0.65:
            await self._call("DELETE", object_path(kind, target))
            await self._create(kind, key.namespace, _member(key, member.name))
        elif chance < 0.85:
            await self._edit(kind, target, {"selection": {"topK": dice.randint(1, 4)}})
        else:
            await self._call("DELETE", object_path(kind, target))
            await self._create(kind, key.namespace, _pool(key))
        return kind, target

    async def _edit(self, kind: Kind, key: ObjectKey, spec: Manifest) -> None:
        await self._call("PATCH", object_path(kind, key), {"spec": spec}, PATCH)

    async def _make(self, key: ObjectKey) -> None:
        async with self._turns:
            await self._create(MODEL_POOL, key.namespace, _pool(key))
            for number in range(MEMBERS):
                await self._create(SUB_MODEL, key.namespace, _member(key, f"{key.name}-{number}"))

    async def _create(self, kind: Kind, namespace: str, manifest: Manifest) -> None:
        path = collection_path(kind, namespace)
        while await self._call("POST", path, manifest) == 409:  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.1)

    async def _call(
        self, method: str, path: str, body: Manifest | None = None, kind: str = "application/json"
    ) -> int:
        data = json.dumps(body).encode() if body else None
        async with self._client.request(
            method, self._server + path, data=data, headers={"Content-Type": kind}
        ) as answer:
            if answer.status >= 400 and answer.status != 409:
                raise AssertionError(f"{method} {path}: {answer.status} {await answer.text()}")
            return answer.status


def _working(deployments: Sequence[Manifest]) -> set[tuple[ObjectKey, str]]:
    return {
        (_key(one, one["metadata"]["labels"][POOL_LABEL]), one["metadata"]["name"]) for one in deployments
    }


def _key(manifest: Manifest, name: str) -> ObjectKey:
    return ObjectKey(manifest["metadata"]["namespace"], name)


def _pool(key: ObjectKey) -> Manifest:
    return {
        "apiVersion": MODEL_POOL.api_version,
        "kind": MODEL_POOL.name,
        "metadata": {"name": key.name},
        "spec": {},
    }


def _member(pool: ObjectKey, name: str) -> Manifest:
    texts = [f"text {number} of some length about what {name} knows" for number in range(12)]
    return {
        "apiVersion": SUB_MODEL.api_version,
        "kind": SUB_MODEL.name,
        "metadata": {"name": name},
        "spec": {
            "poolRef": {"name": pool.name},
            "examples": texts,
            "model": {"storageUri": f"https://models.example/{name}.tar.gz"},
        },
    }
