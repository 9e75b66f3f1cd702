"""The settings document of one router process: read once at the start, never changed."""

from pathlib import Path
from typing import Annotated

import msgspec

from fastserve.errors import InvalidSpec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
LONGEST_SOCKET_PATH = 107
"""Bytes that Linux keeps for the path of a Unix socket, less the closing NUL."""
SOCKET_NAME_LENGTH = len("/01234567.sock")
DRAIN_SOCKET = "router.sock"


class ClusterPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a router on a cluster reads what it is told; peers are found by the pool's name."""

    namespace: str
    routes: str
    """Name of the ConfigMap with the route table."""


class RouterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a router process needs to know before it starts.

    A router with a `member` stands beside that member's Triton and is the only writer of
    `repository_path`; one without is a stand-by door. The route table, the peers and the prototypes come from
    three paths, or from `cluster`.
    """

    pool: str
    instance: str
    """Identity among the pool's routers."""
    member: str | None = None
    host: str = "127.0.0.1"
    data_port: Port
    admin_port: Port
    cluster: ClusterPlace | None = None
    table_path: str | None = None
    """The route table, a JSON document (api/routes.py)."""
    peers_path: str | None = None
    """Who else is there (router/peers.py)."""
    scale_path: str | None = None
    """Where a stand-by router says how many replicas are to run, {"replicas": {"<sub-model>": n}}; on a
    cluster it says so through /scale."""
    run_path: str
    """Folder of Unix sockets: the engine's, and on a cluster this router's own."""
    prototypes_path: str | None = None
    computes_prototypes: bool = False
    """Compute missing prototypes and store them; the pool's other routers wait for the files."""
    encoder_path: str
    """Folder with model.onnx, tokenizer.json and encoder.json."""
    encoder_threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    triton_http: str | None = None
    triton_grpc: str | None = None
    repository_path: str | None = None
    warden_socket: str | None = None
    """Where the parent of that Triton is asked to start it anew; without it a frozen one stays frozen."""
    models_path: str | None = None
    """Folder into which models are fetched."""
    credentials_path: str | None = None
    """Folder with the files of the Secret that the model's source asks for."""
    claims_path: str | None = None
    """Folder below which the claims that ``pvc://`` names are mounted."""
    keys_path: str | None = None
    """Folder with the pool's API keys, one file for each; without it callers need none."""
    tls_path: str | None = None
    """Folder with tls.crt, tls.key and perhaps ca.crt; without it the data port speaks plain HTTP."""
    client_ca_path: str | None = None
    """Folder with ca.crt of whoever signs callers' certificates; without it they need none."""
    images_path: str | None = None
    """Folder below which image volumes are mounted, each under identity.image_folder()."""
    drain_seconds: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    quiet_seconds: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """A draining router goes on for so long after the last request: those who send notice late that they
    should not. Routers on one machine look once a second; a cluster's proxies take longer."""

    @property
    def drain_socket(self) -> Path | None:
        """Where a drain can be asked for. Local mode's routers share their folder and have none."""
        return Path(self.run_path) / DRAIN_SOCKET if self.cluster and self.member else None


def read_settings(path: Path) -> RouterSettings:
    """Decode and check the document. Raises InvalidSpec, naming the field, where it cannot be used."""
    try:
        return parse_settings(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidSpec("settings", f"{path} cannot be read: {error.strerror}") from error


def parse_settings(text: bytes, place: str = "--settings-json") -> RouterSettings:
    """As read_settings, of a text from `place`."""
    try:
        settings = msgspec.json.decode(text, type=RouterSettings)
    except msgspec.DecodeError as error:
        raise InvalidSpec("settings", f"{place}: {error}") from error
    _check(settings)
    return settings


def _check(settings: RouterSettings) -> None:
    for field in ("table_path", "peers_path", "prototypes_path"):
        if settings.cluster is None and getattr(settings, field) is None:
            raise InvalidSpec(field, "is required for a router without cluster")
    if settings.scale_path is not None and settings.cluster is not None:
        raise InvalidSpec("scale_path", "is for a router without cluster; on a cluster /scale is written")
    if settings.scale_path is not None and settings.member is not None:
        raise InvalidSpec("scale_path", "is for a stand-by router, which has no member")
    if settings.client_ca_path is not None and settings.tls_path is None:
        raise InvalidSpec("client_ca_path", "needs tls_path: certificates are shown over TLS only")
    if settings.member is None:
        return
    for field in ("triton_http", "triton_grpc", "repository_path"):
        if getattr(settings, field) is None:
            raise InvalidSpec(field, "is required for a router with a member")
    if len(settings.run_path.encode()) + SOCKET_NAME_LENGTH > LONGEST_SOCKET_PATH:
        raise InvalidSpec(
            "run_path",
            f"{settings.run_path} is too long for a Unix socket in it",
            f"at most {LONGEST_SOCKET_PATH - SOCKET_NAME_LENGTH} bytes",
        )
