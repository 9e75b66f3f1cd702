"""What a proxied request costs in our router, beside nginx, Envoy, vLLM's and SGLang's routers and LiteLLM.

CPU of the proxying processes per request (user and system, of all their threads and children, by the
scheduler), throughput and p99, at 1, 8 and 32 connections. Every proxy has one worker or thread and writes no
log; all of them stand before the same upstream, an nginx that answers as a Triton would out of its memory
(bench/peer_programs.py tells the configurations). Callers are h2load in closed loop with kept connections, a
process of its own, whose CPU is told too. Rounds are interleaved: in each, every proxy at every number of
connections, and ratios are taken within a round.

Of ours are measured, with admission, health, metrics and request ids on and the encoding remembered:

- the router beside a Triton: a marked hop, as it comes from a door, and the same request from a caller;
- the stand-by door asked for one sub-model by name (its own part; the hop behind it is told beside);
- the door's prediction with 1, 2 and 4 sub-models: the door and the routers behind it, together, against
  k + 1 requests proxied by Envoy, and by ourselves.

The target: our proxied request costs at most Envoy's, a prediction with k at most k + 1 of those.

nginx and h2load come from Debian (`apt-get install nginx nghttp2-client`), the other peers by the pins in
bench/peers.txt into the user's cache folder. A peer that does not run here is listed with the reason.

    python bench/router_peers.py [--rounds 5] [--seconds 1]      writes bench/results/router_peers.json
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from rich.console import Console

import router_cost
from peer_install import debian_program, peer_programs, peer_versions
from peer_load import Call, Callers, Cell, Processes, tree_seconds
from peer_programs import Peer, Program, infer_call, peers, upstream
from peer_report import CONNECTIONS, DOOR, HOP, OWN, PREDICTIONS, Figures, document_of, print_report

WIDTH = 160
"""Of the table, also where nobody looks at a terminal."""
RESULT = Path(__file__).parent / "results" / "router_peers.json"
MEMBERS = ("north", "east", "south", "west")
HOP_HEADERS = (
    ("x-fastserve-hop", "1"),
    ("x-request-id", "0123456789abcdef"),
    ("x-fastserve-deadline-millis", "5000"),
)
"""What a door adds when it asks a member's router."""
START_SECONDS = 60.0
"""LiteLLM takes about seven on a free core."""
REST_SECONDS = 3.0


@dataclass(frozen=True)
class Row:
    """One thing that is asked, running. `program` is whose last words tell why it does not."""

    name: str
    program: str
    port: int
    call: Call
    processes: Processes


class House:
    """Every process that is started, each in a folder of its own; all are ended with the stack."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "TOKIO_WORKER_THREADS": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }

    def start(self, name: str, program: Program) -> int:
        """Its pid. Its output goes to a file that `last_words` reads."""
        place = self._place(name)
        place.mkdir()
        for file, content in program.files.items():
            (place / file).write_bytes(content)
        return self._run(name, program.command, self._environment)

    def start_router(self, name: str, settings: Path) -> int:
        self._place(name).mkdir()
        command = (sys.executable, router_cost.__file__, "--serve", str(settings))
        return self._run(name, command, None)

    def last_words(self, name: str) -> str:
        lines = (self._place(name) / "output").read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def _place(self, name: str) -> Path:
        return self.folder / name.replace(" ", "-").replace(",", "")

    def _run(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None) -> int:
        place = self._place(name)
        with (place / "output").open("wb") as output:
            child = subprocess.Popen(command, cwd=place, env=environment, stdout=output, stderr=output)
        self._stack.callback(_end, child)
        return child.pid


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10.0)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def fault_of(port: int, call: Call) -> str:
    """What is wrong with the answer to this call; empty where it is good."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("POST", call.path, call.body, dict(call.headers))
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    return (
        ""
        if reply.status == 200 and body.count(call.expects) == call.times
        else f"{reply.status}: {body[:200]!r}"
    )


def fault_until(port: int, call: Call, deadline: float) -> str:
    """As fault_of, after the time that a start may take; `deadline` by the monotonic clock."""
    while fault := fault_of(port, call):
        if monotonic() > deadline:
            return fault
        sleep(0.2)
    return ""


# Who is asked.


def predict_call(k: int) -> Call:
    body = {"text": " ".join(MEMBERS), "topK": k}
    return Call("/v1/predict", json.dumps(body).encode(), b'"status":"answered"', k)


def our_rows(house: House, upstream_port: int, upstream_pid: int) -> list[Row]:
    """A pool of four sub-models, each with a router beside the upstream, and a door."""
    world = house.folder / "pool"
    world.mkdir()
    settings = router_cost.write_world(world, f"127.0.0.1:{upstream_port}", MEMBERS)
    pids = {name: house.start_router(name, world / name / "settings.json") for name in settings}
    member, door = settings[MEMBERS[0]], settings["door"]
    behind = tuple(pids[name] for name in MEMBERS)
    alone = Processes(pids[MEMBERS[0]], (), upstream_pid)
    all_of_us = Processes(pids["door"], behind, upstream_pid)
    infer, marked = infer_call(MEMBERS[0]), infer_call(MEMBERS[0], HOP_HEADERS)
    rows = [
        Row(HOP, MEMBERS[0], member.data_port, marked, alone),
        Row(OWN, MEMBERS[0], member.data_port, infer, alone),
        Row(DOOR, "door", door.data_port, infer, all_of_us),
    ]
    return rows + [
        Row(name, "door", door.data_port, predict_call(k), all_of_us) for k, name in PREDICTIONS.items()
    ]


def those_that_answer(house: House, rows: Sequence[Row]) -> tuple[list[Row], dict[str, str]]:
    """Rows that run here, and of the others why not."""
    deadline = monotonic() + START_SECONDS
    faults = {row.name: fault_until(row.port, row.call, deadline) for row in rows}
    bad = [row for row in rows if faults[row.name]]
    told = {row.name: f"{faults[row.name]}; {house.last_words(row.program)}" for row in bad}
    return [row for row in rows if row not in bad], told


# Measuring.


def measure(rows: Sequence[Row], callers: Callers, rounds: int, seconds: float) -> Figures:
    """Cells by row, connections and round."""
    sizes = {
        (row.name, c): callers.requests_for(row.port, row.call, c, seconds)
        for row in rows
        for c in CONNECTIONS
    }
    figures: dict[str, dict[int, list[Cell]]] = {row.name: {c: [] for c in CONNECTIONS} for row in rows}
    for number in range(rounds):
        for row in (*rows[number % len(rows) :], *rows[: number % len(rows)]):
            for c in CONNECTIONS:
                cell = callers.measured(row.port, row.call, c, sizes[row.name, c], row.processes)
                figures[row.name][c].append(cell)
    return figures


def at_rest(rows: Sequence[Row]) -> dict[str, float]:
    """CPU milliseconds per second of every asked program while nobody asks."""
    before = {row.name: tree_seconds(row.processes.asked) for row in rows}
    sleep(REST_SECONDS)
    return {
        row.name: 1000.0 * (tree_seconds(row.processes.asked) - before[row.name]) / REST_SECONDS
        for row in rows
    }


def run(rounds: int, seconds: float) -> None:
    console = Console(width=WIDTH)
    nginx, h2load, programs = debian_program("nginx"), debian_program("h2load"), peer_programs()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="fastserve-peers-") as name, ExitStack() as stack:
        house = House(Path(name), stack)
        triton = upstream(nginx)
        triton_pid = house.start("upstream", triton)
        if fault := fault_until(triton.port, infer_call("m"), monotonic() + START_SECONDS):
            raise SystemExit(f"the upstream: {fault}; {house.last_words('upstream')}")
        others: list[Peer] = peers(nginx, programs, triton.port)
        rows = our_rows(house, triton.port, triton_pid)
        for peer in others:
            pid = house.start(peer.name, peer.program)
            rows.append(
                Row(peer.name, peer.name, peer.program.port, peer.call, Processes(pid, (), triton_pid))
            )
        running, absent = those_that_answer(house, rows)
        rest = at_rest(running)
        figures = measure(running, Callers(h2load, house.folder), rounds, seconds)
    print_report(console, figures, absent)
    told = {peer.name: peer.program.told for peer in others}
    document = document_of(figures, absent) | {
        "at_rest_cpu_ms_per_second": {name: round(value, 2) for name, value in rest.items()},
        "flags": told,
        "versions": {**peer_versions(programs), "python": sys.version.split()[0]},
        "load_average_before": round(load, 2),
        "cores": os.cpu_count(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each spell of calls takes")
    arguments = parser.parse_args()
    run(arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
