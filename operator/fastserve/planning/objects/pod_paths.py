"""Where things lie inside a pod, and who listens where: what the containers of one pod agree on."""

from typing import Final

WORK: Final = "/fastserve"
"""The volume that the containers of a pod share."""
RUN: Final = "/fastserve/run"
"""Unix sockets of the router and of the engine."""
ROUTER_SOCKET: Final = "/fastserve/run/router.sock"
WARDEN_SOCKET: Final = "/fastserve/run/warden.sock"
"""Where the router has a frozen Triton started anew."""
REPOSITORY: Final = "/fastserve/repository"
"""Triton's model repository."""
MODELS: Final = "/fastserve/models"
"""Checkpoints that were fetched."""
CLAIMS: Final = "/fastserve/claims"
"""Claims that a ``pvc://`` URI names, each under its name."""
IMAGES: Final = "/fastserve/images"
"""Image volumes, each under a name made of its image's."""
CREDENTIALS: Final = "/fastserve/credentials"
"""The Secret of who fetches, one file for each key; only in a router beside a Triton."""
API_KEYS: Final = "/var/run/fastserve/api-keys"
"""The Secret with the pool's API keys; in routers only, as the two that follow."""
CERTIFICATE: Final = "/var/run/fastserve/certificate"
"""The Secret with the data port's certificate and its key."""
CALLER_AUTHORITY: Final = "/var/run/fastserve/caller-authority"
"""The Secret with the certificate of whoever signs callers' certificates."""
SCRATCH: Final = "/tmp"  # noqa: S108 - a volume of the container's own, since its root is read-only
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a volume of the pod's own
TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a folder
"""Where clients of the Kubernetes API look for their token."""

ENCODER: Final = "/opt/fastserve/encoder"
"""In the router's image."""
ENGINE_PYTHON: Final = "/opt/fastserve/engine/bin/python"
"""In Triton's image: the interpreter that has torch."""
STUB_PATHS: Final = ("/opt/fastserve/stub", "/opt/fastserve/code")
"""In Triton's image: numpy for Triton's Python stub, and the code."""
TRITON_SERVER: Final = "/opt/tritonserver/bin/tritonserver"
TRITON_BACKENDS: Final = "/opt/tritonserver/backends"

ROUTER_CONTAINER: Final = "router"
TRITON_CONTAINER: Final = "triton"

DRAIN_SECONDS: Final = 30
"""How long requests in flight may take once a pod is to end."""
QUIET_SECONDS: Final = 5
"""How long no new request must have come before a router that ends refuses them: kube-proxy and other
routers hear of it late."""
GRACE_SECONDS: Final = DRAIN_SECONDS + QUIET_SECONDS + 15
"""A pod's whole time to end: the drain, then Triton's own end (10 s), then the router's."""
