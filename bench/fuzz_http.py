"""Spoilt requests against real router processes: what they are answered, and what they leave behind.

A door and two member routers, each a process of its own, before a stand-in for Triton that takes nothing but
what a router is to send: it counts what is framed in any other way. A neighbour asks for a prediction all the
while and checks the answer. Seeded: the same seed spoils the same way.

    python bench/fuzz_http.py [--requests 50000] [--seed 0]      writes bench/results/fuzz_http.json
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import httptools
import uvloop

import http_stack
import router_cost
from fastserve.router.settings import RouterSettings
from fastserve.router.upstream import Upstream
from fuzz_mutations import admin_corpus, corpus, request, spoil
from fuzz_world import StrictTriton, serve_router

RESULT = Path(__file__).parent / "results" / "fuzz_http.json"
CONCURRENCY = 48
SILENCE_SECONDS = 0.3
"""After which a request that got no answer is given up: it asks for more bytes than it sends."""
LAST = request("GET", "/v2", lines=b"connection: close\r\n")
DELIBERATE = {503, 504}
MOST_GROWTH_MIB = 64


@dataclass
class Tally:
    """What came back."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    sent: int = 0
    silent: int = 0
    closed: int = 0
    unreadable: int = 0
    neighbour: Counter[str] = field(default_factory=Counter)
    slowest_neighbour: float = 0.0

    def bad(self) -> int:
        return sum(n for (status, _), n in self.answers.items() if status >= 500 and status not in DELIBERATE)


class Answers:
    """Reads the answers of one connection."""

    def __init__(self) -> None:
        self.parser: Any = httptools.HttpResponseParser(self)
        self.body = b""
        self.found: list[tuple[int, str]] = []

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != 100:
            self.found.append((status, json.loads(self.body)["reason"] if status >= 400 else ""))


async def send(port: int, data: bytes, tally: Tally) -> None:
    """One connection: the bytes, then whatever comes back until it is closed or silent."""
    answers = Answers()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    received = False
    try:
        while part := await asyncio.wait_for(reader.read(65536), SILENCE_SECONDS):
            received = True
            answers.parser.feed_data(part)
    except TimeoutError:
        tally.silent += not received
    except ConnectionError:
        tally.closed += 1
    except (httptools.HttpParserError, ValueError, KeyError):
        tally.unreadable += 1
    finally:
        writer.transport.abort()
    tally.answers.update(answers.found)


async def neighbour(port: int, tally: Tally) -> None:
    """A caller who does nothing wrong, for as long as the others are at it."""
    client, body = Upstream(f"127.0.0.1:{port}"), json.dumps({"text": router_cost.TEXT}).encode()
    while True:
        start = perf_counter()
        reply = await client.post("/v1/predict", b"", body, 10.0)
        tally.slowest_neighbour = max(tally.slowest_neighbour, perf_counter() - start)
        answer = json.loads(reply.body)
        good = (
            reply.status == 200 and len(answer["members"]) == 2 and len(answer["scores"]) == http_stack.LABELS
        )
        tally.neighbour["right" if good else f"{reply.status} {answer.get('reason', '')}"] += 1
        await asyncio.sleep(0.02)


async def fuzz(settings: dict[str, RouterSettings], requests: int, seed: int) -> Tally:
    """Open `requests` connections to the door, a member's router, an admin port, and send one spoilt request
    or several on each."""
    draw, tally = random.Random(seed), Tally()
    member = router_cost.MEMBERS[0]
    data, admin = corpus(member, router_cost.TEXT), admin_corpus()
    ports = [(settings["door"].data_port, data)] * 6 + [(settings[member].data_port, data)] * 3
    ports.append((settings[member].admin_port, admin))
    left = requests

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            port, valid = draw.choice(ports)
            count = draw.choice((1, 1, 1, 2, 5))
            left -= 1
            tally.sent += count
            spoilt = b"".join(spoil(draw, draw.choice(valid)) for _ in range(count))
            await send(port, spoilt + LAST, tally)

    beside = asyncio.create_task(neighbour(settings["door"].data_port, tally))
    await asyncio.gather(*(one_after_the_other() for _ in range(CONCURRENCY)))
    beside.cancel()
    with suppress(asyncio.CancelledError):
        await beside
    return tally


def memory_mib(pid: int) -> dict[str, float]:
    """Resident memory of a process, now and at its highest."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
    return {"now": round(values["VmRSS"], 1), "highest": round(values["VmHWM"], 1)}


async def measure(
    settings: dict[str, RouterSettings], triton: str, pids: dict[str, int], options: Any
) -> dict[str, Any]:
    """The scorecard of one run."""
    await router_cost.until_ready(settings)
    before = {name: memory_mib(pid)["now"] for name, pid in pids.items()}
    start = perf_counter()
    tally = await fuzz(settings, options.requests, options.seed)
    seconds = perf_counter() - start
    counts = json.loads((await Upstream(triton).get("/count", 5.0)).body)
    after = {name: memory_mib(pid) for name, pid in pids.items()}
    return {
        "connections": options.requests,
        "requests": tally.sent,
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "answers": {f"{status} {reason}".strip(): n for (status, reason), n in sorted(tally.answers.items())},
        "connections_without_answer": tally.silent,
        "connections_reset": tally.closed,
        "unreadable_answers": tally.unreadable,
        "5xx_but_503_and_504": tally.bad(),
        "neighbour": {**tally.neighbour, "slowest_seconds": round(tally.slowest_neighbour, 3)},
        "memory_mib": {name: {"before": before[name], **after[name]} for name in pids},
        "triton": counts,
    }


def verdict(found: dict[str, Any], crashes: int) -> list[str]:
    """What is not as it must be."""
    grown = {name: one["now"] - one["before"] for name, one in found["memory_mib"].items()}
    wrong = {
        "crashes": crashes,
        "5xx": found["5xx_but_503_and_504"],
        "unreadable answers": found["unreadable_answers"],
        "malformed at Triton": found["triton"]["malformed"],
        "neighbour's failures": sum(
            n for word, n in found["neighbour"].items() if word not in ("right", "slowest_seconds")
        ),
        "routers that grew": sum(mib > MOST_GROWTH_MIB for mib in grown.values()),
    }
    return [f"{name}: {count}" for name, count in wrong.items() if count]


def run(options: Any) -> int:
    port = http_stack.free_port()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = router_cost.write_world(Path(folder), f"127.0.0.1:{port}")
        commands = {"triton": [sys.executable, __file__, "--triton", str(port)]}
        for name in settings:
            path = f"{folder}/{name}/settings.json"
            commands[name] = [sys.executable, __file__, "--router", path]
        children = {name: subprocess.Popen(command) for name, command in commands.items()}
        for child in children.values():
            stack.callback(child.wait)
            stack.callback(child.terminate)
        pids = {name: children[name].pid for name in settings}
        found = uvloop.run(measure(settings, f"127.0.0.1:{port}", pids, options))
        found["crashes"] = sum(child.poll() is not None for child in children.values())
    found["wrong"] = verdict(found, found["crashes"])
    print(json.dumps(found, indent=2))
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if found["wrong"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000, help="connections with a spoilt request each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--triton", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--router", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.router:
        uvloop.run(serve_router(options.router))
    if options.triton:
        uvloop.run(StrictTriton().serve(options.triton))
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
