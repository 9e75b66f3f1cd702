import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from prometheus_server import program, prometheus_server

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Prometheus")


class Told(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'seconds{submodel="sport"} 42\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is named there
        """Nothing is to be said of each scrape."""


@pytest.fixture
def target() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Told) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_real_prometheus_tells_what_it_scraped(target: str, tmp_path: Path) -> None:
    with prometheus_server(tmp_path, [target], {"namespace": "here"}) as server:
        assert server is not None
        end = time.monotonic() + 20
        while not (found := server.query('seconds{submodel="sport"}')) and time.monotonic() < end:
            time.sleep(0.2)
        (sample,) = found
        assert sample["value"][1] == "42"
        assert (sample["metric"]["namespace"], sample["metric"]["instance"]) == ("here", target)
    assert server.process.poll() is not None
