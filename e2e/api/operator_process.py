"""The operator as a process of this machine, and what it tells of itself."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMESPACE = "default"


class OperatorProcess:
    """One replica called `name`, against the API server of `kubeconfig`; it logs into `folder`."""

    def __init__(self, name: str, kubeconfig: Path, folder: Path, **environment: str) -> None:
        self.name = name
        self._port = free_port()
        self._log = folder / f"{name}.log"
        settings = {
            "KUBECONFIG": str(kubeconfig),
            "FASTSERVE_ROUTER_IMAGE": "fastserve/none:0",
            "FASTSERVE_TRITON_IMAGE": "fastserve/none:0",
            "FASTSERVE_IMAGE_PULL_POLICY": "Never",
            "FASTSERVE_NAMESPACE": NAMESPACE,
            "FASTSERVE_POD_NAME": name,
            "FASTSERVE_LISTEN": f"127.0.0.1:{self._port}",
            **environment,
        }
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fastserve.controller"], env={**kept, **settings}, stderr=log
            )

    def ask(self, path: str) -> tuple[int, str]:
        """Status and text of one of its own pages; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, pattern: str) -> float:
        """The sum of all samples whose name and labels match."""
        _, text = self.ask("/metrics")
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return sum(float(value) for name, value in samples if re.search(pattern, name))

    @property
    def leads(self) -> bool:
        return self.metric("^fastserve_operator_leader$") == 1

    def looks(self) -> float:
        return self.metric(r"^fastserve_operator_reconcile_total")

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> float:
        """End it by SIGTERM; the seconds that it took. Raises AssertionError where it did not end well."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        assert code == 0, self._log.read_text()[-3000:]
        return time.monotonic() - began


def until(what: Callable[[], object], seconds: float, said: str) -> float:
    """Wait until `what` is true; the seconds that it took. Raises AssertionError, saying what was not."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds:g} s: {said}")
        time.sleep(0.1)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
