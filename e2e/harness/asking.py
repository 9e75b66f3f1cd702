"""Asking a pool as a client outside of the cluster does: through kubectl port-forward."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.kubectl import Kubectl

OPENED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@contextmanager
def forwarded(kubectl: Kubectl, target: str, port: int) -> Iterator[str]:
    """``http://127.0.0.1:…`` that leads to `target`, e.g. ``service/news``."""
    process = subprocess.Popen(
        [kubectl.binary, "-n", kubectl.namespace, "port-forward", target, f":{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=kubectl.environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = OPENED.search(line)
        if found is None:
            raise AssertionError(f"kubectl port-forward {target}: {line.strip() or 'it ended'}")
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def predict(url: str, text: str) -> dict[str, Any]:
    """The pool's answer. Raises AssertionError with status and body where it refused."""
    return post(f"{url}/v1/predict", {"text": text})


def post(url: str, body: dict[str, Any], seconds: float = 15) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{error.code}: {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise AssertionError(f"{url}: {error}") from None
