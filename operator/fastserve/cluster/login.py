"""How to reach the API server, and as whom.

In a pod that is the service account, and its token is read again as the kubelet renews it. Anywhere else
it is a kubeconfig, read by kubernetes.aio with all that a kubeconfig can ask for. That library is imported
only then: it costs 23 MiB that no router needs.
"""

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastserve.errors import Unreachable

SERVICE_ACCOUNT_FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS: Final = 10.0
"""How long a token that was read is believed; the kubelet writes a new one long before the old one ends."""


@dataclass(frozen=True)
class Login:
    """`server` is the URL of the API server; `authorization` gives the header of the next request, empty
    where a client certificate says who asks."""

    server: str
    tls: ssl.SSLContext | None
    authorization: Callable[[], Awaitable[str]]


class ServiceAccountToken:
    """The token in `path`, read again every ten seconds."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read_at = float("-inf")
        self._header = ""

    async def header(self) -> str:
        """``Bearer …``. Raises Unreachable where the file cannot be read."""
        if self._clock() - self._read_at >= TOKEN_SECONDS:
            try:
                token = self._path.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Unreachable(f"the service account's token cannot be read: {error}") from error
            self._header, self._read_at = f"Bearer {token}", self._clock()
        return self._header


async def login(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT_FOLDER) -> Login:
    """The login of this process: the pod's own, else that of KUBECONFIG or ~/.kube/config. Raises
    Unreachable where there is neither, or what is there cannot be used."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if host and (folder / "token").exists():
        return _in_pod(host, environment.get("KUBERNETES_SERVICE_PORT", "443"), folder)
    return await _by_kubeconfig(environment.get("KUBECONFIG", ""))


def _in_pod(host: str, port: str, folder: Path) -> Login:
    shown = f"[{host}]" if ":" in host else host
    try:
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    except OSError as error:  # ssl.SSLError is one as well
        raise Unreachable(f"the cluster's certificate authority cannot be read: {error}") from error
    return Login(f"https://{shown}:{port}", tls, ServiceAccountToken(folder / "token").header)


async def _by_kubeconfig(path: str) -> Login:
    from kubernetes.aio.client import Configuration  # noqa: PLC0415 - see the module's docstring
    from kubernetes.aio.client.rest import RESTClientObject  # noqa: PLC0415
    from kubernetes.aio.config import ConfigException, load_kube_config  # noqa: PLC0415

    configuration = Configuration()
    try:
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path or None, client_configuration=configuration
        )
        tls = RESTClientObject(configuration).ssl_context
    except (ConfigException, OSError) as error:
        raise Unreachable(f"there is no way to log in: {error}") from error

    async def authorization() -> str:
        settings = await configuration.auth_settings()
        return str(settings["BearerToken"]["value"] or "") if "BearerToken" in settings else ""

    return Login(str(configuration.host), tls, authorization)
