"""A pool on loopback for tests: real routers over real sockets, around a Triton of a few lines.

The fake Triton speaks just what is used: inference over HTTP with binary tensors, control behind the
TritonControl protocol, the engine's report over a Unix socket.
"""

import asyncio
import json
import os
import socket
import struct
import zlib
from collections.abc import Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from fastserve.api.engine import EngineReport
from fastserve.api.identity import digest_of, triton_model_name
from fastserve.cluster.port import Reads
from fastserve.errors import BackendUnavailable
from fastserve.router.answers import Answer
from fastserve.router.app import Doors, PortTaken, Router
from fastserve.router.protocol import HttpServer, Request
from fastserve.router.settings import ClusterPlace, RouterSettings
from fastserve.router.triton import Queued, load_failure
from fastserve.router.upstream import Reply, Upstream

TOPICS = {
    "banking": ("transfer money to my account", "what is my account balance", "freeze my bank account"),
    "travel": ("book a flight to paris", "find a hotel in rome", "is my flight on time"),
    "kitchen": ("how long to boil an egg", "recipe for tomato soup", "what can i cook tonight"),
}
LABELS = {"banking": ("balance", "transfer"), "travel": ("flight", "hotel"), "kitchen": ("cook", "flight")}

PLACE = ClusterPlace("team-a", "assistant-p-routes")
NO_PATHS = {"table_path": None, "peers_path": None, "prototypes_path": None}


class HashEncoder:
    """Bags of hashed words: deterministic, and texts that share words are near."""

    digest = "hash"

    def encode(self, texts: Sequence[str], max_tokens: int) -> np.ndarray:
        rows = np.zeros((len(texts), 256), np.float32)
        for i, text in enumerate(texts):
            for word in text.lower().split()[:max_tokens]:
                rows[i, zlib.crc32(word.encode()) % 256] += 1.0
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@dataclass
class FakeTriton:
    """One Triton with one Python model; what it holds, and how it misbehaves, is set by the test."""

    labels: tuple[str, ...]
    embeds: int = 0
    states: dict[str, str] = field(default_factory=dict)
    is_live: bool = True
    load_error: str = ""
    load_errors: dict[str, str] = field(default_factory=dict)
    """By the model's name."""
    infer_error: tuple[int, str] | None = None
    fail_next: int = 0
    fails_half: bool = False
    frozen: bool = False
    hanging: set[str] = field(default_factory=set)
    """Names of models that answer nothing for now."""
    deadly: bytes = b""
    """A text that its stub dies of."""
    deaths: int = 0
    asked: int = 0
    delay: float = 0.0
    slots: asyncio.Semaphore | None = None
    """So many inferences at once take their delay; the others wait before it."""
    calls: list[tuple[str, int]] = field(default_factory=list)
    heard: list[tuple[str, dict[bytes, bytes]]] = field(default_factory=list)
    """Of each request, and no probe, its id and its headers."""
    loads: list[str] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    restarts: int = 0
    server: HttpServer | None = None
    listener: asyncio.Server | None = None
    port: int = 0
    sockets: dict[str, asyncio.Server] = field(default_factory=dict)
    repository: Path | None = None

    # control

    async def live(self) -> bool:
        if self.frozen:
            await asyncio.sleep(2.0)  # as long as the real control waits
        return self.is_live and not self.frozen

    async def index(self) -> dict[str, str]:
        if not self.is_live:
            raise BackendUnavailable("gone")
        return dict(self.states)

    async def queued(self, name: str) -> Queued:
        if not self.is_live:
            raise BackendUnavailable("gone")
        return Queued()

    async def load(self, name: str) -> None:
        self.loads.append(name)
        if error := self.load_error or self.load_errors.get(name):
            raise load_failure(error)
        if self.hold is not None:
            await self.hold.wait()
        file = self.repository / name / "engine.json"
        if not file.exists():  # a model of the user's own
            self.states[name] = "READY"
            return
        config = json.loads(file.read_text())
        path = config["socket"]
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  the engine's own way in one line, on the loop
        self.sockets[name] = await asyncio.start_unix_server(self._report, path)
        self.states[name] = "READY"

    async def unload(self, name: str) -> None:
        self.unloads.append(name)
        self.states[name] = "UNAVAILABLE"
        engine = self.sockets.pop(name, None)
        if engine is not None:
            engine.close()

    async def close(self) -> None:
        pass

    # the engine's socket

    async def _report(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        width = self.embeds or len(self.labels)
        report = EngineReport("Loaded", 10, 10, (), self.labels, width, self.restarts, 0.5)
        writer.write(report.to_json().encode())
        writer.close()

    # inference

    async def start(self) -> None:
        self.server = HttpServer(self._infer, lambda _: 1 << 24)
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.server.connection, "127.0.0.1", self.port)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def die(self) -> None:
        """As kill -9 does: connections break, all models are gone."""
        self.is_live = False
        self.states.clear()
        for engine in self.sockets.values():
            engine.close()
        self.sockets.clear()
        await self.stop()

    async def stop(self) -> None:
        for connection in tuple(self.server.connections):
            connection._transport.abort()
        for server in (self.listener, *self.sockets.values()):
            server.close()
            await server.wait_closed()

    async def _infer(self, request: Request) -> Answer:
        while self.frozen:
            await asyncio.sleep(0.02)
        if request.path == "/v2/health/live":
            return Answer(200, b"")
        name = request.path.split("/")[3]
        if self.infer_error is not None:
            status, text = self.infer_error
            return Answer(status, json.dumps({"error": text}).encode())
        if self.states.get(name) != "READY":
            return Answer(404, b'{"error": "Request for unknown model"}')
        cut = int(request.headers[b"inference-header-content-length"])
        head = json.loads(request.body[:cut])
        shape = head["inputs"][0]["shape"]
        assert shape[1] == 1
        self.calls.append((name, shape[0]))
        while name in self.hanging:
            await asyncio.sleep(0.02)
        if self.deadly and self.deadly in request.body:
            self.deaths += 1
            return Answer(500, b'{"error": "Stub process is not healthy."}')
        if b"ready?" not in request.body:
            self.asked += 1
            self.heard.append((head.get("id", ""), request.headers))
        if self._fails(request.body):
            return Answer(500, b'{"error": "EngineFailed: no memory"}')
        async with self.slots or nullcontext():
            if self.delay:
                await asyncio.sleep(self.delay)
        output = head["outputs"][0]["name"]
        rows = np.stack([self._row(text) for text in _texts(request.body[cut:])])
        tensor = {
            "name": output,
            "datatype": "FP32",
            "shape": list(rows.shape),
            "parameters": {"binary_data_size": rows.nbytes},
        }
        # Triton puts the id first, where it was given one, and no space anywhere.
        named = {"id": head["id"]} if "id" in head else {}
        answer = {**named, "model_name": name, "model_version": "1", "outputs": [tensor]}
        document = json.dumps(answer, separators=(",", ":")).encode()
        headers = (("Inference-Header-Content-Length", str(len(document))),)
        return Answer(200, document + rows.tobytes(), headers)

    def _fails(self, body: bytes) -> bool:
        """Probes never do: the failures that nobody sees are the ones of requests."""
        if b"ready?" in body:
            return False
        if self.fail_next:
            self.fail_next -= 1
            return True
        return self.fails_half and self.asked % 2 == 1

    def _row(self, text: bytes) -> np.ndarray:
        """The first label for even lengths, the second for odd ones; embeddings point one way."""
        if self.embeds:
            row = np.zeros(self.embeds, np.float32)
            row[len(text) % self.embeds] = 1.0
            return row
        row = np.full(len(self.labels), 0.2 / (len(self.labels) - 1), np.float32)
        row[len(text) % 2] = 0.8
        return row


def _texts(blob: bytes) -> list[bytes]:
    texts, at = [], 0
    while at < len(blob):
        (size,) = struct.unpack_from("<I", blob, at)
        texts.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    return texts


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def member_document(name: str, version: str = "one", **changes: object) -> dict:
    examples = list(TOPICS[name])
    digest = digest_of({"weights": f"{name}-{version}"})
    return {
        "name": name,
        "meaning": {"examples": examples, "digest": digest_of({"examples": examples})},
        "target": {
            "digest": digest,
            "modelName": triton_model_name(name, digest),
            "version": version,
            "storageUri": f"file:///checkpoints/{name}",
            "files": {"config.pbtxt": "max_batch_size: 4\n", "1/model.py": "# the stub's model\n"},
            "engine": {"devices": ["cpu"], "python": "python3"},
        },
        **changes,
    }


def table_document(members: Sequence[dict], **changes: object) -> dict:
    return {
        "pool": "assistant",
        "generation": 1,
        "task": "TextClassification",
        "selection": {"topK": 2, "minScore": "0.35"},
        "method": "WeightedSum",
        "deadlineMillis": 5000,
        "minMembers": 1,
        "limits": {},
        "members": list(members),
        **changes,
    }


@dataclass
class Node:
    """One router of the world, running in this process."""

    settings: RouterSettings
    router: Router
    task: asyncio.Task
    data: Upstream
    admin: Upstream

    async def post(self, path: str, document: object, headers: str = "") -> tuple[int, dict, Reply]:
        body = document if isinstance(document, bytes) else msgspec.json.encode(document)
        reply = await self.data.post(path, headers.encode(), body, 10.0)
        return reply.status, json.loads(reply.body), reply

    async def get(self, path: str) -> tuple[int, dict]:
        reply = await self.data.get(path, 10.0)
        return reply.status, json.loads(reply.body)

    async def state(self) -> dict:
        return json.loads((await self.admin.get("/v1/state", 10.0)).body)

    async def readyz(self) -> tuple[int, dict]:
        reply = await self.admin.get("/readyz", 10.0)
        return reply.status, json.loads(reply.body)

    async def stop(self) -> None:
        self.router.stopping.set()
        await self.task
        self.data.close()
        self.admin.close()

    async def kill(self) -> None:
        """As kill -9 does, as far as others can tell."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        self.data.close()
        self.admin.close()


@dataclass
class World:
    """A pool: one stand-by door, a router with its fake Triton per sub-model."""

    folder: Path
    document: dict
    nodes: dict[str, Node] = field(default_factory=dict)
    tritons: dict[str, FakeTriton] = field(default_factory=dict)
    reads: Reads | None = None

    @property
    def door(self) -> Node:
        return self.nodes["door"]

    def write_table(self) -> None:
        part = self.folder / "table.part"
        part.write_text(json.dumps(self.document))
        part.replace(self.folder / "table.json")

    def write_peers(self) -> None:
        peers = [
            {
                "instance": name,
                "member": node.settings.member,
                "address": node.data.address,
                "admin": node.admin.address,
            }
            for name, node in self.nodes.items()
        ]
        part = self.folder / "peers.part"
        part.write_text(json.dumps({"peers": peers}))
        part.replace(self.folder / "peers.json")

    async def start(self, instance: str, member: str | None = None, **changes: object) -> Node:
        triton = self.tritons.get(instance)
        if member is not None and triton is None:
            triton = self.tritons[instance] = FakeTriton(LABELS[member])
        if triton is not None:
            triton.repository = self.folder / instance / "models"
            if triton.server is None:
                await triton.start()
        settings, doors = self._open(instance, member, triton, changes)
        router = Router(settings, HashEncoder(), triton, self.reads)
        task = asyncio.create_task(router.serve(doors))
        addresses = [f"127.0.0.1:{port}" for port in (settings.data_port, settings.admin_port)]
        self.nodes[instance] = Node(settings, router, task, *map(Upstream, addresses))
        return self.nodes[instance]

    def _open(self, *which: object) -> tuple[RouterSettings, Doors]:
        """Ports that were free a moment ago may be taken by now: others on this machine open some too."""
        for _ in range(5):
            settings = self._settings(*which)
            with suppress(PortTaken):
                return settings, Doors.open(settings)
        raise AssertionError("five pairs of free ports were taken at once")

    def _settings(
        self, instance: str, member: str | None, triton: FakeTriton | None, changes: dict
    ) -> RouterSettings:
        run = self.folder / instance
        run.mkdir(parents=True, exist_ok=True)
        fields = {
            "pool": "assistant",
            "instance": instance,
            "member": member,
            "data_port": free_port(),
            "admin_port": free_port(),
            "table_path": str(self.folder / "table.json"),
            "peers_path": str(self.folder / "peers.json"),
            "run_path": str(run),
            "prototypes_path": str(self.folder / "prototypes"),
            "computes_prototypes": member is None,
            "encoder_path": str(self.folder),
            "triton_http": f"127.0.0.1:{triton.port}" if triton else None,
            "triton_grpc": "127.0.0.1:1" if triton else None,
            "repository_path": str(run / "models") if triton else None,
            "drain_seconds": 0.0,
            **({"cluster": PLACE, **NO_PATHS} if self.reads else {}),
            **changes,
        }
        return RouterSettings(**fields)

    async def until(self, fact, seconds: float = 10.0) -> None:
        """Wait for a fact; fail with what the doors say where it does not become true."""
        try:
            async with asyncio.timeout(seconds):
                while not await fact():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            states = {name: await node.state() for name, node in self.nodes.items()}
            raise AssertionError(json.dumps(states, indent=1)) from None

    async def all_ready(self) -> None:
        names = {node.settings.member for node in self.nodes.values()} - {None}

        async def fact() -> bool:
            pools = [node.router.pool for node in self.nodes.values()]
            return all(pool.ready() >= names and set(pool.prototypes.names) >= names for pool in pools)

        await self.until(fact)

    async def close(self) -> None:
        for node in self.nodes.values():
            if not node.task.done():
                await node.stop()
        for triton in self.tritons.values():
            await triton.stop()


@asynccontextmanager
async def world(folder: Path, members: Sequence[str] = tuple(TOPICS), **table: object):
    """A pool in which all the named sub-models are ready, with a stand-by door."""
    pool = World(folder, table_document([member_document(name) for name in members], **table))
    pool.write_table()
    try:
        await pool.start("door")
        for name in members:
            await pool.start(name, name)
        pool.write_peers()
        await pool.all_ready()
        yield pool
    finally:
        await pool.close()
