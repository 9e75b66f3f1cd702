"""Fetching as the sidecar does it, a process with a request, and a file server that misbehaves to order."""

import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastserve.fetching.credentials import read_credentials
from fastserve.fetching.download import Patience
from fastserve.fetching.fetch import fetch
from fastserve.fetching.progress import Line
from fastserve.fetching.request import read_request

CHUNK = 64 * 1024
MEGABYTE = 1 << 20


@dataclass
class Served:
    """One path of the file server, and how it misbehaves."""

    content: bytes
    etag: str = '"v1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the next responses breaks off."""
    statuses: list[int] = field(default_factory=list)
    """Status codes of the next responses; then it serves."""
    announced: int | None = None
    """The Content-Length it tells instead of the true one; -1 tells none."""
    seconds_per_chunk: float = 0.0
    authorization: str = ""
    redirect: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class FileServer:
    """A file server with TLS, on 127.0.0.1 unless `address` is another one of this machine's. `files` may be
    changed while it serves."""

    def __init__(
        self, folder: Path, files: dict[str, Served], *, tls: bool = True, address: str = "127.0.0.1"
    ) -> None:
        self.files = files
        self.bytes_sent = 0
        self.asked: list[tuple[str, str, str]] = []
        """Path, Range and Authorization of every request."""
        self.ca = folder / "ca.crt"
        self._server = ThreadingHTTPServer((address, 0), self._handler())
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate(folder, address))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.host = f"{address}:{self._server.server_port}"

    def url(self, path: str) -> str:
        return f"{self.scheme}://{self.host}{path}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                world.answer(self)

            def do_HEAD(self) -> None:  # refusals only: those have no body
                world.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = to.path.partition("?")[0]
        wanted_range = to.headers.get("Range", "")
        self.asked.append((to.path, wanted_range, to.headers.get("Authorization", "")))
        served = self.files.get(path)
        status = 404 if served is None else self._status(served, to)
        if served is None or status >= 300:
            to.send_response(status)
            if served is not None and served.redirect:
                to.send_header("Location", served.redirect)
            for key, value in served.headers.items() if served is not None else ():
                to.send_header(key, value)
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        self._serve(to, served, wanted_range)

    def _status(self, served: Served, to: BaseHTTPRequestHandler) -> int:
        if served.statuses:
            return served.statuses.pop(0)
        if served.redirect:
            return 302
        if served.authorization and to.headers.get("Authorization") != served.authorization:
            return 401
        return 200

    def _serve(self, to: BaseHTTPRequestHandler, served: Served, wanted: str) -> None:
        start, end = 0, len(served.content)
        condition = to.headers.get("If-Range", served.etag)
        if wanted and served.ranges and condition == served.etag:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
            if start >= len(served.content):
                to.send_response(416)
                to.send_header("Content-Range", f"bytes */{len(served.content)}")
                to.send_header("Content-Length", "0")
                to.end_headers()
                return
            to.send_response(206)
            to.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(served.content)}")
        else:
            to.send_response(200)
        if served.etag:
            to.send_header("ETag", served.etag)
        if served.announced == -1:
            to.send_header("Connection", "close")
            to.close_connection = True
        else:
            to.send_header("Content-Length", str(served.announced or end - start))
        to.end_headers()
        self._send(to, served, served.content[start:end], wanted == "bytes=0-0")

    def _send(self, to: BaseHTTPRequestHandler, served: Served, content: bytes, probe: bool) -> None:
        cut = served.cuts.pop(0) if served.cuts and not probe else len(content)
        try:
            for at in range(0, min(cut, len(content)), CHUNK):
                chunk = content[at : min(at + CHUNK, cut)]
                to.wfile.write(chunk)
                self.bytes_sent += len(chunk)
                time.sleep(served.seconds_per_chunk)
        except OSError:  # the other end went away; that is what some tests do
            to.close_connection = True
        if cut < len(content) or served.announced not in {None, -1}:
            to.close_connection = True

    @contextmanager
    def running(self) -> Iterator["FileServer"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def certificate(folder: Path, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate for `address` that is its own authority: ca.crt and key.pem in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one name could not be trusted at once.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"a test's server, {token_hex(4)}")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "ca.crt", folder / "key.pem"


@dataclass(frozen=True)
class Outcome:
    """How a fetching process ended, and what it said."""

    code: int
    lines: list[dict[str, Any]]
    stderr: str
    seconds: float

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]


@dataclass
class Fetcher:
    """Starts fetching processes that all fetch to one destination."""

    folder: Path
    secret: dict[str, str] = field(default_factory=dict)

    @property
    def destination(self) -> Path:
        return self.folder / "models" / "v1"

    @property
    def partial(self) -> Path:
        return self.folder / "models" / "v1.partial"

    @property
    def marker(self) -> dict[str, Any]:
        return json.loads((self.destination / ".fastserve-source.json").read_text())

    def files(self) -> dict[str, bytes]:
        """What was fetched, without the marker."""
        found = {str(p.relative_to(self.destination)): p for p in self.destination.rglob("*") if p.is_file()}
        return {name: path.read_bytes() for name, path in found.items() if name != ".fastserve-source.json"}

    def request(self, uri: str, **request: object) -> Path:
        """Write a request and the Secret that it names."""
        secret = self.folder / "secret"
        secret.mkdir(exist_ok=True)
        for key, value in self.secret.items():
            (secret / key).write_text(value + "\n")
        document = {
            "uri": uri,
            "destination": str(self.destination),
            "credentials": str(secret),
            "maxBytes": 64 * MEGABYTE,
            **request,
        }
        path = self.folder / "request.json"
        path.write_text(json.dumps(document))
        return path

    def start(self, uri: str, **request: object) -> subprocess.Popen[str]:
        path = self.request(uri, **request)
        command = [sys.executable, "-m", "fastserve.fetching"]
        with path.open() as stdin:
            return subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

    def run(self, uri: str, **request: object) -> Outcome:
        began = time.monotonic()
        process = self.start(uri, **request)
        out, err = process.communicate(timeout=100)
        lines = [json.loads(line) for line in out.splitlines()]
        return Outcome(process.returncode, lines, err, time.monotonic() - began)


def hurried(fetcher: Fetcher, uri: str) -> list[Line]:
    """Fetch in this process and with little patience; raises what the process would have told."""
    request = read_request(fetcher.request(uri).read_bytes())
    lines: list[Line] = []
    patience = Patience(tries=3, first_seconds=0.01, longest_seconds=0.02)
    fetch(request, read_credentials(request.credentials), lines.append, patience)
    return lines


def killed_at(process: subprocess.Popen[str], fraction: float) -> int:
    """Kill a fetching process once it said that it has this part of all bytes; the bytes it had then."""
    assert process.stdout is not None
    for text in process.stdout:
        line = json.loads(text)
        if line.get("bytesTotal") and line["bytesDone"] >= fraction * line["bytesTotal"]:
            process.kill()
            process.communicate()
            return int(line["bytesDone"])
    raise AssertionError(f"the process ended before it could be killed: {process.communicate()}")
