"""The two containers: the router and Triton."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastserve.api.identity import (
    ADMIN_PORT,
    DATA_PORT,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
)
from fastserve.api.modelpool import Router
from fastserve.api.objects import Manifest
from fastserve.api.pods import EnvVar
from fastserve.planning.objects import pod_paths
from fastserve.planning.objects.naming import routes_of_pool
from fastserve.planning.objects.security import container_security
from fastserve.planning.objects.settings import ImageSet
from fastserve.planning.triton import LOOPBACK, ServerPlace, server_arguments, warden_arguments

DATA_PORT_NAME: Final = "data"
ADMIN_PORT_NAME: Final = "admin"
_OWN_ENV: Final = (("POD_UID", "metadata.uid"), ("POD_NAMESPACE", "metadata.namespace"))


@dataclass(frozen=True)
class Part:
    """What is particular to one container of one pod."""

    images: ImageSet
    resources: Manifest
    mounts: Sequence[Manifest]
    env: Sequence[EnvVar] = ()


def access_settings(router: Router) -> dict[str, str]:
    """Where a router finds keys and certificates; nothing where it needs none."""
    found: dict[str, str] = {}
    if router.auth is not None:
        found["keys_path"] = pod_paths.API_KEYS
    if router.tls is not None:
        found["tls_path"] = pod_paths.CERTIFICATE
        if router.tls.client_ca_secret_name is not None:
            found["client_ca_path"] = pod_paths.CALLER_AUTHORITY
    return found


def sidecar_settings(pool: str, member: str, credentials_path: str | None) -> dict[str, Any]:
    """The settings document of a router beside a Triton."""
    settings = {
        **_shared_settings(pool),
        "member": member,
        "triton_http": f"{LOOPBACK}:{TRITON_HTTP_PORT}",
        "triton_grpc": f"{LOOPBACK}:{TRITON_GRPC_PORT}",
        "repository_path": pod_paths.REPOSITORY,
        "warden_socket": pod_paths.WARDEN_SOCKET,
        "models_path": pod_paths.MODELS,
        "claims_path": pod_paths.CLAIMS,
        "images_path": pod_paths.IMAGES,
    }
    return {**settings, "credentials_path": credentials_path} if credentials_path else settings


def standby_settings(pool: str) -> dict[str, Any]:
    """The settings document of a router without a Triton."""
    return {**_shared_settings(pool), "computes_prototypes": True}


def router_container(part: Part, settings: Mapping[str, Any]) -> Manifest:
    """The router; Kubernetes puts the pod's uid and namespace where its settings name them."""
    return {
        "name": pod_paths.ROUTER_CONTAINER,
        "image": part.images.router,
        "imagePullPolicy": part.images.pull_policy,
        "args": ["--settings-json", json.dumps(settings, separators=(",", ":"))],
        "env": _router_env(part.env),
        "ports": [
            {"name": DATA_PORT_NAME, "containerPort": DATA_PORT, "protocol": "TCP"},
            {"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": part.resources,
        "volumeMounts": list(part.mounts),
        **_router_probes(),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def as_sidecar(container: Manifest) -> Manifest:
    """The container as a native sidecar: it starts before the main container and ends after it."""
    return {**container, "restartPolicy": "Always"}


def triton_container(part: Part) -> Manifest:
    """Triton. It has no probe: it listens on loopback only, its own health endpoints say yes while its model
    is dead, and the router's readiness is an inference. Kubernetes starts it again when it ends; where it
    does not end but is frozen, the router has its warden do it."""
    drain = [pod_paths.ENGINE_PYTHON, "-m", "fastserve.engine.drain", pod_paths.ROUTER_SOCKET]
    return {
        "name": pod_paths.TRITON_CONTAINER,
        "image": part.images.triton,
        "imagePullPolicy": part.images.pull_policy,
        "args": list(_triton_arguments()),
        "env": [env_entry(variable) for variable in part.env],
        "resources": part.resources,
        "volumeMounts": list(part.mounts),
        # Triton closes its connections at once when it is told to end; so the router drains before.
        "lifecycle": {"preStop": {"exec": {"command": drain}}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def env_entry(variable: EnvVar) -> Manifest:
    """One entry of a container's env."""
    if variable.value_from is None:
        return {"name": variable.name, "value": variable.value}
    source = variable.value_from.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"name": variable.name, "valueFrom": source}


def _shared_settings(pool: str) -> dict[str, Any]:
    return {
        "pool": pool,
        "instance": "$(POD_UID)",
        "host": "0.0.0.0",  # noqa: S104 - the Service and the kubelet reach it there
        "data_port": DATA_PORT,
        "admin_port": ADMIN_PORT,
        "cluster": {"namespace": "$(POD_NAMESPACE)", "routes": routes_of_pool(pool)},
        "run_path": pod_paths.RUN,
        "encoder_path": pod_paths.ENCODER,
        "drain_seconds": pod_paths.DRAIN_SECONDS,
        "quiet_seconds": pod_paths.QUIET_SECONDS,
    }


def _router_env(written: Sequence[EnvVar]) -> list[Manifest]:
    """Who the pod is, which its settings speak of, and then what its user says."""
    own: list[Manifest] = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in _OWN_ENV
    ]
    names = {name for name, _ in _OWN_ENV}
    return [*own, *(env_entry(one) for one in written if one.name not in names)]


def _router_probes() -> Manifest:
    """Triton starts when the router's start is over. A router that is only busy must not be restarted: that
    would cost its Triton's requests too, so liveness is patient."""
    return {
        "startupProbe": _probe("/livez", period=1, timeout=1, failures=120),
        "readinessProbe": _probe("/readyz", period=2, timeout=2, failures=2),
        "livenessProbe": _probe("/livez", period=10, timeout=5, failures=6),
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _triton_arguments() -> tuple[str, ...]:
    """Of the image's entry point, which is Triton's warden."""
    place = ServerPlace(
        repository=pod_paths.REPOSITORY,
        backend_directory=pod_paths.TRITON_BACKENDS,
        http_port=TRITON_HTTP_PORT,
        grpc_port=TRITON_GRPC_PORT,
        metrics_port=TRITON_METRICS_PORT,
        shm_prefix="fastserve",
    )
    server = (pod_paths.TRITON_SERVER, *server_arguments(place))
    return warden_arguments(pod_paths.WARDEN_SOCKET, place.shm_prefix, server)
