"""Pod Security's level "restricted" as Kubernetes' admission reads it: a judge of pod specs, for tests."""

from collections.abc import Iterator
from typing import Any

VOLUME_TYPES = {
    *("configMap", "csi", "downwardAPI", "emptyDir"),
    *("ephemeral", "persistentVolumeClaim", "projected", "secret"),
    "image",  # since Kubernetes 1.33; the page of the standards does not list it yet
}
SECCOMP_TYPES = {"RuntimeDefault", "Localhost"}


def violations(spec: dict[str, Any]) -> list[str]:
    """What "restricted" refuses in a pod's spec; empty where it lets the pod in."""
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    found = [*_of_pod(spec)]
    for container in containers:
        found += [f"{container['name']}: {why}" for why in _of_container(container, spec)]
    return found


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    for volume in spec.get("volumes", []):
        for kind in sorted(volume.keys() - {"name"} - VOLUME_TYPES):
            yield f"volume {volume['name']} is of type {kind}"
    security = spec.get("securityContext", {})
    if security.get("sysctls"):
        yield "sysctls"
    yield from _of_user(security)
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"


def _of_user(security: dict[str, Any]) -> Iterator[str]:
    if security.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    if security.get("runAsUser") == 0:
        yield "runAsUser is 0"
    seccomp = security.get("seccompProfile", {}).get("type")
    if seccomp is not None and seccomp not in SECCOMP_TYPES:
        yield f"seccompProfile {seccomp}"
    if security.get("seLinuxOptions", {}).get("user") or security.get("seLinuxOptions", {}).get("role"):
        yield "seLinuxOptions"
    if security.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield "appArmorProfile"


def _of_container(container: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    own, pod = container.get("securityContext", {}), spec.get("securityContext", {})
    yield from _of_user(own)
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in SECCOMP_TYPES:
        yield "no seccompProfile"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("privileged"):
        yield "privileged"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "not all capabilities are dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    yield from _of_hooks(container)


def _of_hooks(container: dict[str, Any]) -> Iterator[str]:
    hooks = [container.get(name, {}) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
    hooks += container.get("lifecycle", {}).values()
    for hook in hooks:
        for action in ("httpGet", "tcpSocket"):
            if hook.get(action, {}).get("host"):
                yield f"{action} names a host"
