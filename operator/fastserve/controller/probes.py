"""/livez, /readyz and /metrics, from a thread of their own: a frozen event loop is to be told, not to be
waited for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from fastserve.controller.settings import Address
from fastserve.controller.vitals import Vitals

TEXT: Final = "text/plain; charset=utf-8"
IDLE_SECONDS: Final = 30.0
Answer = tuple[int, str, bytes]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: Address, answers: dict[str, Callable[[], Answer]]) -> None:
        self.answers = answers
        super().__init__((address.host, address.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path.partition("?")[0])
        status, content_type, body = answer() if answer else (404, TEXT, b"there is nothing here\n")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is inherited
        """The kubelet asks every few seconds: nothing to tell."""


@contextmanager
def probes(address: Address, vitals: Vitals, registry: CollectorRegistry) -> Iterator[int]:
    """Answer at `address` for as long as the block lasts; gives the port. Raises OSError where it is
    taken."""

    def live() -> Answer:
        problem = vitals.problem()
        return (503 if problem else 200), TEXT, f"{problem or 'ok'}\n".encode()

    def ready() -> Answer:
        is_ready = vitals.is_started
        text = "ok\n" if is_ready else "the API server has not answered yet\n"
        return (200 if is_ready else 503), TEXT, text.encode()

    def metrics() -> Answer:
        return 200, CONTENT_TYPE_PLAIN_1_0_0, generate_latest(registry)

    server = _Server(address, {"/livez": live, "/readyz": ready, "/metrics": metrics})
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
