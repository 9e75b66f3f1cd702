"""Asking a pool as a client outside of the cluster does: through kubectl port-forward."""

import json
import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass
class Asked:
    """What came of one question that was asked again and again: the sub-model's version of every answer in
    their order, and what was said instead of an answer."""

    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def asked_meanwhile(url: str, text: str) -> Iterator[Asked]:
    """Ask the pool, one question after the other, until the block ends."""
    asked, over = Asked(), threading.Event()

    def ask() -> None:
        while not over.wait(0.05):
            try:
                asked.versions.append(predict(url, text)["members"][0]["version"])
            except AssertionError as error:
                asked.failures.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True)
class Answered:
    """An answer of any status. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def answered(url: str, text: str, seconds: float) -> Answered:
    """What the pool says to a text, whatever that is. Raises AssertionError where it says nothing."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(f"{url}/v1/predict", body, {"Content-Type": "application/json"})
    try:
        response = urllib.request.urlopen(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        response = error
    except OSError as error:
        raise AssertionError(f"{url}: {error}") from None
    with response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answered(response.status, headers, json.load(response))


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
