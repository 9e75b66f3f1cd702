"""A real Prometheus on a free port of this machine, that scrapes what a test names each second."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cluster.packages import find_prometheus

START_SECONDS = 30.0
MISSING = (
    "prometheus is neither on PATH nor in the cache of the cluster's tool:"
    " PYTHONPATH=e2e python -m cluster programs prometheus"
)


@dataclass(frozen=True)
class PrometheusServer:
    """One that runs. A test may stop and continue its process (SIGSTOP, SIGCONT), or kill it."""

    url: str
    process: "subprocess.Popen[bytes]"

    def query(self, text: str) -> list[dict[str, Any]]:
        """The samples of an instant query. Where the targets run in the test's own event loop, ask from a
        thread."""
        answer = json.loads(_read(f"{self.url}/api/v1/query?{urlencode({'query': text})}"))
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


def program() -> Path | None:
    """Where Prometheus is; None, with the reason printed, where there is none: who gets None skips."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = find_prometheus(cache / "fastserve" / "cluster")
    if found is None:
        print(MISSING)
    return found


@contextmanager
def prometheus_server(
    folder: Path, targets: Sequence[str], labels: Mapping[str, str] | None = None
) -> Iterator[PrometheusServer | None]:
    """For as long as the block lasts it scrapes `targets` (host:port, at /metrics), and adds `labels` to what
    it gets; its data are in `folder`. None where there is no Prometheus."""
    binary = program()
    if binary is None:
        yield None
        return
    (folder / "prometheus.yml").write_text(json.dumps(_configuration(targets, labels or {})))
    port = _free_port()
    command = [
        binary,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    server = PrometheusServer(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_ready(server, folder / "prometheus.log")
        yield server
    finally:
        process.kill()
        process.wait()


def _configuration(targets: Sequence[str], labels: Mapping[str, str]) -> dict[str, Any]:
    """JSON, which YAML contains."""
    job = {"job_name": "routers", "static_configs": [{"targets": list(targets), "labels": dict(labels)}]}
    return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}


def _wait_until_ready(server: PrometheusServer, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while server.process.poll() is None and time.monotonic() < end:
        try:
            _read(f"{server.url}/-/ready")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"Prometheus does not start: {log.read_text()[-2000:]}")


def _read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            body: bytes = response.read()
            return body
    except urllib.error.HTTPError as error:
        error.close()  # it is an OSError, and holds a connection
        raise


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
