"""Which HTTP stack a router should be made of: CPU of a proxy process per request, by candidate.

Every candidate is a process of its own that takes the same infer request on loopback, sends it on to the
same stand-in for Triton (another process), and answers with what came back. Its CPU is read from the
scheduler (/proc/PID/task/*/schedstat), so that the caller's and the stand-in's do not count. Rounds are
interleaved. Candidates whose libraries are missing are reported as not measured.

    python bench/http_stack.py [--rounds 5] [--requests 2000]      writes bench/results/http_stack.json
"""

import argparse
import asyncio
import importlib.util
import json
import socket
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from fastserve.errors import BackendUnavailable
from fastserve.router.answers import Answer
from fastserve.router.oip import HEADER_LENGTH, infer_body
from fastserve.router.protocol import HttpServer, Request
from fastserve.router.upstream import Upstream

RESULT = Path(__file__).parent / "results" / "http_stack.json"
TEXT = b"please transfer two hundred dollars from my savings to my checking account"
LABELS = 20
CONCURRENCY = 16
PATH = "/v2/models/m/infer"
CANDIDATES: dict[str, tuple[str, ...]] = {
    "asyncio.Protocol + httptools on uvloop, raw HTTP upstream": (),
    "asyncio.Protocol + httptools on asyncio, raw HTTP upstream": (),
    "uvicorn + starlette on uvloop, raw HTTP upstream": ("uvicorn", "starlette"),
    "aiohttp server and client on uvloop": ("aiohttp",),
    "asyncio.Protocol + httptools on uvloop, tritonclient.grpc.aio upstream": (),
}
RAW_UVLOOP, RAW_ASYNCIO, UVICORN, AIOHTTP, GRPC = CANDIDATES


def scores() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full((1, LABELS), 1.0 / LABELS, np.float32)


# The stand-in for Triton: over HTTP and over gRPC.


async def stand_in_answer(_request: Request) -> Answer:
    blob = scores().tobytes()
    size = {"binary_data_size": len(blob)}
    tensor = {"name": "scores", "datatype": "FP32", "shape": [1, LABELS], "parameters": size}
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": [tensor]}).encode()
    return Answer(200, head + blob, (("Inference-Header-Content-Length", str(len(head))),))


async def serve_stand_in(port: int, grpc_port: int) -> None:
    import grpc.aio
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        async def ModelInfer(self, request: Any, _context: Any) -> Any:  # noqa: N802
            answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
            answer.outputs.add(name="scores", datatype="FP32", shape=[1, LABELS])
            answer.raw_output_contents.append(scores().tobytes())
            return answer

    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    await serve_raw(port, stand_in_answer)


# The candidates.


async def serve_raw(port: int, handler: Callable[[Request], Awaitable[Answer]]) -> None:
    server = HttpServer(handler, lambda _: 1 << 20)
    listening = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", port)
    await listening.serve_forever()


def raw_handler(upstream: str) -> Callable[[Request], Awaitable[Answer]]:
    client = Upstream(upstream)

    async def handle(request: Request) -> Answer:
        lines = b"Inference-Header-Content-Length: %b\r\n" % request.headers[HEADER_LENGTH]
        reply = await client.post(request.path, lines, request.body, 5.0)
        length = reply.headers[HEADER_LENGTH].decode()
        return Answer(reply.status, reply.body, (("Inference-Header-Content-Length", length),))

    return handle


def grpc_handler(upstream: str) -> Callable[[Request], Awaitable[Answer]]:
    import tritonclient.grpc.aio as triton

    client = triton.InferenceServerClient(upstream)

    async def handle(request: Request) -> Answer:
        text = triton.InferInput("text", [1, 1], "BYTES")
        start = int(request.headers[HEADER_LENGTH]) + 4
        text.set_data_from_numpy(np.array([[request.body[start:]]], dtype=np.object_))
        result = await client.infer("m", [text], outputs=[triton.InferRequestedOutput("scores")])
        return Answer(200, result.as_numpy("scores").tobytes())

    return handle


def uvicorn_app(upstream: str) -> Any:
    from starlette.applications import Starlette  # type: ignore[import-not-found, unused-ignore]
    from starlette.responses import Response  # type: ignore[import-not-found, unused-ignore]
    from starlette.routing import Route  # type: ignore[import-not-found, unused-ignore]

    client = Upstream(upstream)

    async def handle(request: Any) -> Any:
        lines = b"Inference-Header-Content-Length: %b\r\n" % request.headers[HEADER_LENGTH.decode()].encode()
        reply = await client.post(request.url.path, lines, await request.body(), 5.0)
        return Response(reply.body, reply.status)

    return Starlette(routes=[Route(PATH, handle, methods=["POST"])])


async def serve_aiohttp(port: int, upstream: str) -> None:
    import aiohttp  # type: ignore[import-not-found, unused-ignore]
    from aiohttp import web  # type: ignore[import-not-found, unused-ignore]

    session = aiohttp.ClientSession()

    async def handle(request: Any) -> Any:
        length = request.headers[HEADER_LENGTH.decode()]
        headers = {"Inference-Header-Content-Length": length}
        body = await request.read()
        async with session.post(f"http://{upstream}{request.path}", data=body, headers=headers) as reply:
            return web.Response(body=await reply.read(), status=reply.status)

    app = web.Application()
    app.router.add_post(PATH, handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def serve(name: str, port: int, upstreams: tuple[str, str]) -> None:
    """Run one candidate until it is ended."""
    http, grpc_address = upstreams
    if name == "stand-in":
        uvloop.run(serve_stand_in(port, int(grpc_address.rpartition(":")[2])))
    elif name == UVICORN:
        import uvicorn  # type: ignore[import-not-found, unused-ignore]

        app = uvicorn_app(http)
        uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False)
    elif name == RAW_ASYNCIO:
        asyncio.run(_later(serve_raw, port, lambda: raw_handler(http)))
    elif name == AIOHTTP:
        uvloop.run(serve_aiohttp(port, http))
    elif name == GRPC:
        uvloop.run(_later(serve_raw, port, lambda: grpc_handler(grpc_address)))
    else:
        uvloop.run(_later(serve_raw, port, lambda: raw_handler(http)))


async def _later(run: Callable[..., Awaitable[None]], port: int, handler: Callable[[], Any]) -> None:
    """Clients want a running loop when they are made."""
    await run(port, handler())


# Measuring.


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def process(name: str, port: int, upstreams: tuple[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, __file__, "--serve", name, "--port", str(port), "--upstreams", *upstreams]
    child = subprocess.Popen(command)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def cpu_seconds(pid: int) -> float:
    """CPU of all threads of a process, from the scheduler, in seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def ask(client: Upstream, count: int) -> None:
    lines, body = infer_body((TEXT,), (1, 1), ("scores",))

    async def one_after_the_other() -> None:
        for _ in range(count // CONCURRENCY):
            reply = await client.post(PATH, lines, body, 10.0)
            if reply.status != 200:
                raise SystemExit(f"{reply.status}: {reply.body!r}")

    await asyncio.gather(*(one_after_the_other() for _ in range(CONCURRENCY)))


async def until_it_answers(client: Upstream) -> None:
    for _ in range(200):
        try:
            return await ask(client, CONCURRENCY)
        except BackendUnavailable:
            await asyncio.sleep(0.05)
    raise SystemExit(f"{client.address} does not answer")


async def measure(
    children: dict[str, tuple[int, int]], stand_in: int, rounds: int, requests: int
) -> dict[str, list[float]]:
    """CPU milliseconds per request, by candidate and round; `children` are port and pid."""
    await until_it_answers(Upstream(f"127.0.0.1:{stand_in}"))
    clients = {name: Upstream(f"127.0.0.1:{port}") for name, (port, _) in children.items()}
    for client in clients.values():
        await until_it_answers(client)
        await ask(client, requests // 4)
    figures: dict[str, list[float]] = {name: [] for name in children}
    for _ in range(rounds):
        for name, client in clients.items():
            before = cpu_seconds(children[name][1])
            await ask(client, requests)
            spent = cpu_seconds(children[name][1]) - before
            figures[name].append(1000.0 * spent / (requests // CONCURRENCY * CONCURRENCY))
    return figures


def table(figures: dict[str, list[float]], missing: list[str]) -> str:
    base = statistics.median(figures[RAW_UVLOOP])
    lines = ["| proxy | CPU ms per request (median, min to max) | ratio |", "|---|---|---|"]
    for name, values in figures.items():
        median = statistics.median(values)
        span = f"{min(values):.3f} to {max(values):.3f}"
        lines.append(f"| {name} | {median:.3f} ({span}) | {median / base:.1f} |")
    return "\n".join([*lines, *(f"| {name} | not measured: library missing | |" for name in missing)])


def run(rounds: int, requests: int) -> None:
    able = [name for name, needs in CANDIDATES.items() if all(map(importlib.util.find_spec, needs))]
    ports = {name: free_port() for name in ("stand-in", "grpc", *able)}
    upstreams = (f"127.0.0.1:{ports['stand-in']}", f"127.0.0.1:{ports['grpc']}")
    wanted = [(name, ports[name]) for name in ("stand-in", *able)]
    with all_processes(wanted, upstreams) as pids:
        children = {name: (ports[name], pids[name]) for name in able}
        figures = uvloop.run(measure(children, ports["stand-in"], rounds, requests))
    missing = [name for name in CANDIDATES if name not in able]
    print(table(figures, missing))
    RESULT.parent.mkdir(exist_ok=True)
    document = {
        "unit": "CPU milliseconds of the proxy process per request",
        "concurrency": CONCURRENCY,
        "requests_per_round": requests,
        "python": sys.version.split()[0],
        "rounds": figures,
        "median": {name: statistics.median(values) for name, values in figures.items()},
        "not_measured": missing,
    }
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


@contextmanager
def all_processes(wanted: list[tuple[str, int]], upstreams: tuple[str, str]) -> Iterator[dict[str, int]]:
    """All processes at once, so that rounds can be interleaved; their pids by name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(process(name, port, upstreams)).pid for name, port in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--upstreams", nargs=2, default=("", ""), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.port, tuple(arguments.upstreams))
    else:
        run(arguments.rounds, arguments.requests)


if __name__ == "__main__":
    main()
