"""What a request costs in the router: CPU of real router processes, and microseconds of a selection.

Two member routers with a stand-in for Triton and a door, each a process of its own, on loopback. Measured
are a marked call at a member's router, a call for one sub-model by name at the door (the door's part), and a
prediction with two sub-models at the door with its encoding remembered. The pure selection is timed over ten
sub-models with 15 prototypes each.

    python bench/router_cost.py [--rounds 5] [--requests 2000]      writes bench/results/router_cost.json
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import uvloop

import http_stack
from fastserve.api.engine import EngineReport
from fastserve.api.identity import digest_of
from fastserve.api.modelpool import Policy
from fastserve.router.app import Doors, Router
from fastserve.router.oip import infer_body
from fastserve.router.selection import Prototypes, Rules, select
from fastserve.router.settings import RouterSettings, read_settings
from fastserve.router.triton import Queued
from fastserve.router.upstream import Upstream

RESULT = Path(__file__).parent / "results" / "router_cost.json"
MEMBERS = ("left", "right")
TEXT = "left right"
HOP = "a marked call at a member's router"
NAMED = "a call for one sub-model by name at the door"
PREDICT = "a prediction with two sub-models at the door, its encoding remembered"


class Words:
    """The text of all words lies between all the sub-models."""

    digest = "words"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    @classmethod
    def of(cls, settings: RouterSettings) -> "Words":
        """The names of the pool's sub-models."""
        table = json.loads(Path(str(settings.table_path)).read_text())
        return cls([member["name"] for member in table["members"]])

    def encode(self, texts: Sequence[str], _max_tokens: int) -> npt.NDArray[np.float32]:
        rows = np.zeros((len(texts), 384), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[: len(self._words)] = [float(word in text) for word in self._words]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(lengths > 0.0, lengths, 1.0), np.float32)  # a text may hold none


class LoadedTriton:
    """A Triton that has every model; the engine's socket tells the labels."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._states: dict[str, str] = {}
        self._engines: dict[str, asyncio.Server] = {}
        """Kept: a server that nobody holds is closed, and its model given up."""

    async def live(self) -> bool:
        return True

    async def index(self) -> dict[str, str]:
        return self._states

    async def queued(self, _name: str) -> Queued:
        return Queued()

    async def load(self, name: str) -> None:
        socket = self._run / f"{name.rsplit('-', 1)[1]}.sock"
        self._engines[name] = await asyncio.start_unix_server(self._tell, str(socket))
        self._states[name] = "READY"

    async def unload(self, name: str) -> None:
        self._states[name] = "UNAVAILABLE"

    async def close(self) -> None:
        self._states.clear()

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        labels = tuple(f"label-{i}" for i in range(http_stack.LABELS))
        writer.write(EngineReport("Loaded", labels=labels, width=len(labels)).to_json().encode())
        writer.close()


async def serve(path: Path) -> None:
    settings = read_settings(path)
    control = LoadedTriton(Path(settings.run_path)) if settings.member else None
    await Router(settings, Words.of(settings), control).serve(Doors.open(settings))


def table(names: Sequence[str]) -> dict[str, Any]:
    members = []
    for name in names:
        digest = digest_of({"name": name})
        target: dict[str, Any] = {"digest": digest, "modelName": f"{name}-{digest[:8]}", "version": "1"}
        engine = {"devices": ["cpu"], "python": "python3"}
        files = {"config.pbtxt": "max_batch_size: 64\n"}
        target.update(storageUri="file:///none", engine=engine, files=files)
        meaning = {"examples": [name], "digest": digest}
        members.append({"name": name, "meaning": meaning, "target": target})
    common = {"pool": "pool", "task": "TextClassification", "method": "WeightedSum", "selection": {}}
    return {**common, "deadlineMillis": 5000, "minMembers": 1, "limits": {}, "members": members}


def write_world(folder: Path, triton: str, names: Sequence[str] = MEMBERS) -> dict[str, RouterSettings]:
    """The files of a pool with these sub-models; settings by instance."""
    found = {}
    for instance in ("door", *names):
        run = folder / instance
        run.mkdir()
        member = None if instance == "door" else instance
        found[instance] = RouterSettings(
            pool="pool",
            instance=instance,
            member=member,
            data_port=http_stack.free_port(),
            admin_port=http_stack.free_port(),
            table_path=str(folder / "table.json"),
            peers_path=str(folder / "peers.json"),
            run_path=str(run),
            prototypes_path=str(folder),
            computes_prototypes=member is None,
            encoder_path=str(folder),
            triton_http=triton if member else None,
            triton_grpc=triton if member else None,
            repository_path=str(run / "models") if member else None,
            drain_seconds=0.0,
        )
        (run / "settings.json").write_bytes(msgspec.json.encode(found[instance]))
    peers = [
        {
            "instance": one.instance,
            "member": one.member,
            "address": f"127.0.0.1:{one.data_port}",
            "admin": f"127.0.0.1:{one.admin_port}",
        }
        for one in found.values()
    ]
    (folder / "peers.json").write_text(json.dumps({"peers": peers}))
    (folder / "table.json").write_text(json.dumps(table(names)))
    return found


async def ask(client: Upstream, call: tuple[str, bytes, bytes], count: int) -> None:
    async def one_after_the_other() -> None:
        for _ in range(count // http_stack.CONCURRENCY):
            reply = await client.post(*call, 10.0)
            if reply.status != 200:
                raise SystemExit(f"{reply.status}: {reply.body!r}")

    await asyncio.gather(*(one_after_the_other() for _ in range(http_stack.CONCURRENCY)))


async def until_ready(settings: dict[str, RouterSettings]) -> None:
    client = Upstream(f"127.0.0.1:{settings['door'].data_port}")
    body = json.dumps({"text": TEXT}).encode()
    for _ in range(200):
        try:
            reply = await client.post("/v1/predict", b"", body, 5.0)
            if reply.status == 200 and len(json.loads(reply.body)["members"]) == len(MEMBERS):
                return
        except Exception:
            reply = None
        await asyncio.sleep(0.1)
    raise SystemExit(f"the pool does not get ready: {reply.body.decode() if reply else 'no answer'}")


async def measure(
    settings: dict[str, RouterSettings], pids: dict[str, int], rounds: int, requests: int
) -> dict[str, list[float]]:
    """CPU milliseconds of the asked router per request."""
    await until_ready(settings)
    lines, body = infer_body((TEXT.encode(),), (1,), ("scores", "labels"))
    hop = (f"/v2/models/{MEMBERS[0]}/infer", lines + b"x-fastserve-hop: 1\r\n", body)
    calls = {
        HOP: (MEMBERS[0], hop),
        NAMED: ("door", (f"/v2/models/{MEMBERS[0]}/infer", lines, body)),
        PREDICT: ("door", ("/v1/predict", b"", json.dumps({"text": TEXT}).encode())),
    }
    clients = {name: Upstream(f"127.0.0.1:{one.data_port}") for name, one in settings.items()}
    figures: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, (instance, call) in calls.items():
            before = http_stack.cpu_seconds(pids[instance])
            await ask(clients[instance], call, requests)
            spent = http_stack.cpu_seconds(pids[instance]) - before
            figures[name].append(1000.0 * spent / requests)
    return {name: values[1:] for name, values in figures.items()}


def selection_microseconds(times: int = 5000) -> dict[str, float]:
    """Similarities and choice for one text, ten sub-models with 15 prototypes of 384 numbers."""
    draw = np.random.default_rng(0)
    names = tuple(f"member-{i}" for i in range(10))
    rows = {name: draw.normal(size=(15, 384)).astype(np.float32) for name in names}
    prototypes = Prototypes.of({n: r / np.linalg.norm(r, axis=1, keepdims=True) for n, r in rows.items()})
    rules, ready = Rules(2, 0.0, Policy.SIMILARITY), frozenset(names)
    texts = draw.normal(size=(times, 384)).astype(np.float32)
    spans = []
    for vector in texts / np.linalg.norm(texts, axis=1, keepdims=True):
        start = perf_counter_ns()
        select(names, prototypes.similarities(vector), ready, rules)
        spans.append((perf_counter_ns() - start) / 1000.0)
    cuts = statistics.quantiles(spans, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def run(rounds: int, requests: int) -> None:
    requests -= requests % http_stack.CONCURRENCY
    port, grpc_port = http_stack.free_port(), http_stack.free_port()
    addresses = (f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = write_world(Path(folder), addresses[0])
        stack.enter_context(http_stack.process("stand-in", port, addresses))
        pids = {}
        for name in settings:
            command = [sys.executable, __file__, "--serve", f"{folder}/{name}/settings.json"]
            child = subprocess.Popen(command)
            stack.callback(child.wait)
            stack.callback(child.terminate)
            pids[name] = child.pid
        figures = uvloop.run(measure(settings, pids, rounds, requests))
    document = {
        "unit": "CPU milliseconds of the asked router per request",
        "rounds": figures,
        "median": {name: round(statistics.median(values), 4) for name, values in figures.items()},
        "selection_microseconds": selection_microseconds(),
        "python": sys.version.split()[0],
    }
    print(json.dumps({key: document[key] for key in ("median", "selection_microseconds")}, indent=2))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve))
    else:
        run(arguments.rounds, arguments.requests)


if __name__ == "__main__":
    main()
