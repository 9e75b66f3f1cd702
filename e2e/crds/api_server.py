"""The API server's verdict on a manifest, without keeping it: a dry run over one connection."""

import json
import ssl
import tempfile
from base64 import b64decode
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

PLURALS = {"ModelPool": "modelpools", "SubModel": "submodels"}


class ApiServer:
    """One keep-alive connection with the kubeconfig's first user."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        server = urlsplit(cluster["server"])
        context = ssl.create_default_context(cadata=_authority(cluster, kubeconfig))
        if "client-certificate-data" in user:
            _use_certificate(context, user)
        self._headers = {"Content-Type": "application/json"}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"
        self._connection = HTTPSConnection(str(server.hostname), server.port, context=context, timeout=30)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status code and document."""
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self) -> None:
        self._connection.close()

    def judge(self, manifest: dict[str, Any]) -> str:
        """Empty where it would be created, else the server's words."""
        plural, space = PLURALS[manifest["kind"]], manifest["metadata"]["namespace"]
        path = f"/apis/fastserve.io/v1alpha1/namespaces/{space}/{plural}?dryRun=All&fieldValidation=Strict"
        code, document = self.call("POST", path, manifest)
        return "" if code == 201 else f"{code}: {document.get('message', document)}"


def _authority(cluster: dict[str, Any], kubeconfig: Path) -> str:
    if "certificate-authority-data" in cluster:
        return b64decode(cluster["certificate-authority-data"]).decode()
    return (kubeconfig.parent / cluster["certificate-authority"]).read_text()


def _use_certificate(context: ssl.SSLContext, user: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        for part in ("client-certificate-data", "client-key-data"):
            file.write(b64decode(user[part]))
        file.flush()
        context.load_cert_chain(file.name)
