"""An API server with an etcd of its own, for what a shared one must not be made to do: be stopped, lose its
CustomResourceDefinitions. The binaries are those of `make cluster`. It has no controllers and no nodes."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.kubectl import Kubectl, kubectl_binary
from harness.target import state_folder

TOKEN = "only-for-this-test"
OPERATOR_TOKEN = "only-for-its-operator"
OPERATOR = "system:serviceaccount:fastserve-system:fastserve-operator"
START_SECONDS = 60
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
READS = {"level": "None", "verbs": ["get", "list", "watch"]}
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [READS, {"level": "Metadata"}],
}


class PrivateServer:
    """One API server in `folder`; it can be stopped and started as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._binaries = state_folder() / "bin"
        self._port, self._etcd_port, peer_port = (_free_port() for _ in range(3))
        self._write_files()
        self._etcd = self._start(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        self._server: subprocess.Popen[bytes] | None = None
        self.kubeconfig = folder / "kubeconfig"
        self.operator_kubeconfig = folder / "operator.kubeconfig"
        """Of the operator's ServiceAccount, which has no rights but those that somebody gives it."""
        self.audit_log = folder / "audit.log"
        self.kubectl = Kubectl(kubectl_binary((self._binaries,)), self.kubeconfig)

    def start(self) -> None:
        """Start the API server and wait until it is ready."""
        self._server = self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self._folder / 'pki'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            f"--service-account-key-file={self._folder / 'accounts.key'}",
            f"--service-account-signing-key-file={self._folder / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/16",  # the default is full with 254 Services
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={self._folder / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log}",
            "--watch-cache=true",
        )
        end = time.monotonic() + START_SECONDS
        while self.kubectl.attempt("get", "--raw", "/readyz").returncode != 0:
            if time.monotonic() > end or self._server.poll() is not None:
                raise AssertionError((self._folder / "kube-apiserver.log").read_text()[-2000:])
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill the API server; etcd keeps what was written."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def end(self) -> None:
        self.stop()
        self._etcd.kill()
        self._etcd.wait()

    def requests(self, agent: str = "fastserve") -> list[dict[str, Any]]:
        """Finished writes of a client by the audit log, in order: verb, objectRef, responseStatus."""
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if one.get("userAgent") == agent and one["stage"] == "ResponseComplete"]

    def writes(self) -> list[str]:
        """``verb resource/name`` of every write of an operator, but for those of its Lease."""
        return [
            f"{one['verb']} {_named(one['objectRef'])}"
            for one in self.requests()
            if one["verb"] in WRITES and one["objectRef"]["resource"] != "leases"
        ]

    def _start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        binary = self._binaries / name
        if not binary.is_file():
            raise AssertionError(f"{binary} is not there: run `make cluster`")
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([binary, *arguments], stdout=log, stderr=log)

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (self._folder / "accounts.key").write_bytes(pem)
        (self._folder / "tokens.csv").write_text(
            f"{TOKEN},tester,tester,system:masters\n{OPERATOR_TOKEN},{OPERATOR},operator,\n"
        )
        (self._folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
        self._write_kubeconfig("kubeconfig", TOKEN)
        self._write_kubeconfig("operator.kubeconfig", OPERATOR_TOKEN)

    def _write_kubeconfig(self, name: str, token: str) -> None:
        server = {"server": f"https://127.0.0.1:{self._port}", "insecure-skip-tls-verify": True}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "one", "cluster": server}],
            "users": [{"name": "one", "user": {"token": token}}],
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
            "current-context": "one",
        }
        (self._folder / name).write_text(yaml.safe_dump(document))


@contextmanager
def private_server(folder: Path) -> Iterator[PrivateServer]:
    """A running one for as long as the block lasts."""
    server = PrivateServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.end()


def _named(reference: dict[str, str]) -> str:
    parts = (reference["resource"], reference.get("subresource"), reference.get("name"))
    return "/".join(part for part in parts if part)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
