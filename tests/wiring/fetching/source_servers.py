"""Real servers of every other scheme on loopback: moto for S3, and for GCS and OCI two programs from Go
modules, which are built once into the cache that the test cluster's programs lie in."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from platformdirs import user_cache_path
from uv import find_uv_bin

from cluster.binaries import Binary, cached
from cluster.places import GO_MODULES

START_SECONDS = 30.0
CACHE = user_cache_path("fastserve")
S3_PINS = Path(__file__).with_name("s3-server.txt")
REGISTRY = Binary("registry", "registry", ".")
GCS = Binary("fake-gcs-server", "gcs", "github.com/fsouza/fake-gcs-server")


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])


def built(binary: Binary) -> Path:
    """The program, built on first use; without Go on this machine the test is skipped and says so."""
    path = cached(CACHE / "cluster", binary)
    if path.exists():
        return path
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip(f"{binary.name} is built from Go modules, and there is no Go on this machine")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path.parent}.lock"):
        command = [go, "-C", str(GO_MODULES / binary.module), "build", "-trimpath", "-buildvcs=false"]
        fresh = path.with_suffix(".new")
        subprocess.run(
            [*command, "-ldflags", binary.flags, "-o", str(fresh), binary.package],
            check=True,
            env={**os.environ, "CGO_ENABLED": "0"},
        )
        fresh.replace(path)
    return path


def s3_python() -> Path:
    """An interpreter with moto. An environment of its own, since botocore and the Kubernetes client want
    different versions of one library."""
    home = CACHE / "tests" / f"s3-{hashlib.sha256(S3_PINS.read_bytes()).hexdigest()[:12]}"
    python = home / "bin" / "python"
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not (home / "complete").exists():
            uv = [find_uv_bin(), "--quiet"]
            subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(home)], check=True)
            install = [*uv, "pip", "install", "--python", str(python), "--require-hashes"]
            subprocess.run([*install, "-r", str(S3_PINS)], check=True)
            (home / "complete").touch()
    return python


@contextmanager
def serving(command: list[str], port: int, log: Path, address: str = "127.0.0.1") -> Iterator[None]:
    """Run a server until the block ends; the block begins when it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not _listens(port, address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{command[0]} does not listen: {log.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int, address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
