"""What every pod of ours may do: what Pod Security calls "restricted", and on a read-only root."""

from typing import Final

from fastserve.api.objects import Manifest

USER: Final = 65532
"""Of all containers, so that they can share files and sockets. It exists in no base image's own files."""


def pod_security() -> Manifest:
    """A pod's securityContext. Volumes belong to the group, and are not searched through when they do."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """A container's securityContext."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
