"""Kubeconfig files, as JSON (which is YAML)."""

import base64
import json
from pathlib import Path

from cluster.places import API_URL


def render(pki: Path, holder: str) -> str:
    """A kubeconfig that holds the authority, certificate and key of `holder` from the folder `pki`."""

    def embedded(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": API_URL, "certificate-authority-data": embedded("ca.crt")}
    user = {
        "client-certificate-data": embedded(f"{holder}.crt"),
        "client-key-data": embedded(f"{holder}.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fastserve", "cluster": cluster}],
        "users": [{"name": holder, "user": user}],
        "contexts": [{"name": "fastserve", "context": {"cluster": "fastserve", "user": holder}}],
        "current-context": "fastserve",
    }
    return json.dumps(content, indent=2) + "\n"
