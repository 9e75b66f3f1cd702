"""What users do to pools in a namespace, and what onlookers see there: plain requests to the API server."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp

from churn_sequences import Life, Step, stranger_kind
from churn_verdict import Ending, Named
from fastserve.api.objects import MODEL_POOL, SUB_MODEL, Kind, Manifest, ObjectKey
from fastserve.api.state import RouterState
from fastserve.cluster.kube import KubeCluster
from fastserve.cluster.paths import collection_path, object_path
from fastserve.controller.gathering import gather
from fastserve.errors import NotFound
from fastserve.planning.objects.plan import plan_objects
from fastserve.planning.objects.reading import read_observed
from fastserve.planning.objects.settings import ImageSet, NetworkSetting, ObjectSettings

SETTLE_SECONDS = 90.0
SETTINGS = ObjectSettings(
    images=ImageSet("fastserve/none:0", "fastserve/none:0", "Never"),
    network=NetworkSetting(operator_namespace="fastserve-system"),
)
"""What the operator is told by its environment (api/operator_process.py)."""
PATCH = {"Content-Type": "application/merge-patch+json"}


class Silent:
    """No router answers on nodes that kwok plays."""

    async def states(self, pods: Sequence[Manifest]) -> dict[str, RouterState]:  # noqa: ARG002
        return {}


class World:
    """What users and onlookers do, in both namespaces."""

    def __init__(self, client: aiohttp.ClientSession, server: str) -> None:
        self._client = client
        self._server = server
        self._cluster = KubeCluster(client, server)
        self.strangers: dict[tuple[str, int], dict[Named, Manifest]] = {}

    async def live(self, one: Life, namespace: str) -> None:
        """Do all steps, in their time."""
        made = {}
        for manifest in one.strangers:
            kind = stranger_kind(manifest)
            made[kind, manifest["metadata"]["name"]] = await self._create(kind, namespace, manifest)
        self.strangers[namespace, one.seed] = made
        for step in one.steps:
            await asyncio.sleep(step.pause)
            await self._do(step, namespace)

    async def end(self, one: Life, namespace: str) -> None:
        """Delete all that the user has; strangers last."""
        for kind, name in one.end:
            await self._call("DELETE", object_path(kind, ObjectKey(namespace, name)))

    async def ending(self, one: Life, namespace: str) -> Ending:
        """What is there now, and what the plan would do about it."""
        raw = await gather(self._cluster, Silent(), ObjectKey(namespace, one.pool))
        plan = plan_objects(read_observed(raw), SETTINGS, datetime.now(UTC))
        owners = {(SUB_MODEL, m["metadata"]["name"]): m for m in raw.sub_models}
        if raw.pool is not None:
            owners[MODEL_POOL, one.pool] = raw.pool
        children = {
            (kind, child["metadata"]["name"]): child
            for kind, found in raw.children.items()
            for child in found
        }
        strangers = {
            named: await self._get(*named, namespace) for named in self.strangers[namespace, one.seed]
        }
        return Ending(children, owners, strangers, plan)

    async def remove_strangers(self, one: Life, namespace: str) -> None:
        for kind, name in self.strangers[namespace, one.seed]:
            await self._call("DELETE", object_path(kind, ObjectKey(namespace, name)))

    async def _do(self, step: Step, namespace: str) -> None:
        path = object_path(step.kind, ObjectKey(namespace, step.name))
        if step.verb == "create":
            await self._create(step.kind, namespace, step.body)
        elif step.verb in {"delete", "remove"}:
            await self._call("DELETE", path)
        else:
            await self._call("PATCH", path, step.body)

    async def _create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """Create it; one that is still on its way out is waited for."""
        whole = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            status, body = await self._call("POST", collection_path(kind, namespace), whole)
            if status == 201:
                return body
            if status != 409:
                raise AssertionError(f"{kind.name} {manifest['metadata']['name']}: {status} {body}")
            await asyncio.sleep(0.2)
        raise AssertionError(f"{kind.name} {manifest['metadata']['name']} never goes")

    async def _get(self, kind: Kind, name: str, namespace: str) -> Manifest | None:
        with suppress(NotFound):
            return await self._cluster.get(kind, ObjectKey(namespace, name))
        return None

    async def _call(self, method: str, path: str, body: Manifest | None = None) -> tuple[int, Manifest]:
        headers = PATCH if method == "PATCH" else {}
        async with self._client.request(
            method, self._server + path, data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json", **headers},
        ) as answer:  # fmt: skip
            if answer.status >= 500:
                raise AssertionError(f"{method} {path}: {answer.status} {await answer.text()}")
            return answer.status, await answer.json()
