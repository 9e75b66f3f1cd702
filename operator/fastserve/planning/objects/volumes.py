"""Volumes of a pod, and what each container sees of them."""

from typing import Final

from fastserve.api.identity import image_folder
from fastserve.api.modelpool import Router
from fastserve.api.objects import Manifest
from fastserve.api.submodel import SubModel
from fastserve.api.uris import plan_source
from fastserve.planning.objects import pod_paths
from fastserve.planning.quantities import GIB, bytes_quantity, whole
from fastserve.planning.routes import image_of

TOKEN_SECONDS: Final = 3607
"""What the API server itself gives a token that nobody asked for in particular."""
SCRATCH_SIZE: Final = "1Gi"
STANDBY_WORK_SIZE: Final = "1Gi"
_WORK, _TOKEN, _CREDENTIALS, _SHM = "work", "api-token", "credentials", "shared-memory"
_CLAIM, _IMAGE = "claim", "image"
_ROUTER_SCRATCH, _TRITON_SCRATCH = "router-scratch", "triton-scratch"


def claim_of(sub_model: SubModel) -> tuple[str, str]:
    """Claim and path in it that a ``pvc://`` URI names; two empty words for every other scheme."""
    source = plan_source(sub_model.spec.model.storage_uri)
    return (source.place, source.path) if source.scheme == "pvc" else ("", "")


def member_volumes(sub_model: SubModel) -> list[Manifest]:
    """All volumes of a member's pod."""
    spec = sub_model.spec
    volumes = [
        _folder(_WORK, _work_size(sub_model)),
        _token(),
        _folder(_ROUTER_SCRATCH, SCRATCH_SIZE),
        _folder(_TRITON_SCRATCH, SCRATCH_SIZE),
    ]
    if spec.parallelism.tensor > 1:
        size = bytes_quantity((2 + spec.parallelism.tensor) * GIB)
        volumes.append({"name": _SHM, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    if spec.model.credentials is not None:
        # A pod that waits for a Secret says so nowhere that the operator reads; a router that fetches
        # without one says what the source answered, and has it as soon as it is there.
        secret = {"secretName": spec.model.credentials.secret_name, "optional": True, "defaultMode": 0o440}
        volumes.append({"name": _CREDENTIALS, "secret": secret})
    return [*volumes, *_model_volumes(sub_model)]


def access_volumes(router: Router) -> list[Manifest]:
    """Keys and certificates. A router without them lets nobody in, and says what it waits for; a pod without
    them would not even start."""
    return [
        {"name": name, "secret": {"secretName": secret, "optional": True, "defaultMode": 0o440}}
        for name, (secret, _) in _access(router).items()
    ]


def access_mounts(router: Router) -> list[Manifest]:
    """What every router of the pool sees of them, and nothing else does."""
    return [_mount(name, path, read_only=True) for name, (_, path) in _access(router).items()]


def _access(router: Router) -> dict[str, tuple[str, str]]:
    """Secret and folder, by the volume's name."""
    found: dict[str, tuple[str, str]] = {}
    if router.auth is not None:
        found["api-keys"] = (router.auth.secret_name, pod_paths.API_KEYS)
    if router.tls is not None:
        found["certificate"] = (router.tls.secret_name, pod_paths.CERTIFICATE)
        if router.tls.client_ca_secret_name is not None:
            found["caller-authority"] = (router.tls.client_ca_secret_name, pod_paths.CALLER_AUTHORITY)
    return found


def sidecar_mounts(sub_model: SubModel) -> list[Manifest]:
    """What the router beside a Triton sees."""
    mounts = [*standby_mounts(), *_model_mounts(sub_model)]
    if sub_model.spec.model.credentials is not None:
        mounts.append(_mount(_CREDENTIALS, pod_paths.CREDENTIALS, read_only=True))
    return mounts


def triton_mounts(sub_model: SubModel) -> list[Manifest]:
    """What Triton sees: no token and no credentials, since what runs there can be anybody's code."""
    mounts = [
        _mount(_WORK, pod_paths.WORK),
        _mount(_TRITON_SCRATCH, pod_paths.SCRATCH),
        *_model_mounts(sub_model),
    ]
    if sub_model.spec.parallelism.tensor > 1:
        mounts.append(_mount(_SHM, pod_paths.SHARED_MEMORY))
    return mounts


def standby_volumes() -> list[Manifest]:
    """All volumes of a stand-by router's pod."""
    return [_folder(_WORK, STANDBY_WORK_SIZE), _token(), _folder(_ROUTER_SCRATCH, SCRATCH_SIZE)]


def standby_mounts() -> list[Manifest]:
    """What a stand-by router sees."""
    return [
        _mount(_WORK, pod_paths.WORK),
        _mount(_TOKEN, pod_paths.TOKEN, read_only=True),
        _mount(_ROUTER_SCRATCH, pod_paths.SCRATCH),
    ]


def _model_volumes(sub_model: SubModel) -> list[Manifest]:
    """Where the model is read where it lies."""
    claim, _ = claim_of(sub_model)
    if claim:
        return [{"name": _CLAIM, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]
    image = image_of(sub_model)
    # A node asks the registry once for a tag: what a tag is moved to comes by another one, or by its digest.
    return [{"name": _IMAGE, "image": {"reference": image, "pullPolicy": "IfNotPresent"}}] if image else []


def _model_mounts(sub_model: SubModel) -> list[Manifest]:
    claim, _ = claim_of(sub_model)
    if claim:
        return [_mount(_CLAIM, f"{pod_paths.CLAIMS}/{claim}", read_only=True)]
    image = image_of(sub_model)
    return [_mount(_IMAGE, f"{pod_paths.IMAGES}/{image_folder(image)}", read_only=True)] if image else []


def _work_size(sub_model: SubModel) -> str:
    """Two versions lie there while one takes the other's place, and the archive that the new one is unpacked
    from; the rest is Triton's repository. More than this, and the kubelet evicts the pod that serves."""
    return bytes_quantity(3 * whole(sub_model.spec.model.size_limit) + GIB)


def _folder(name: str, size: str) -> Manifest:
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def _mount(name: str, path: str, *, read_only: bool = False) -> Manifest:
    mount: Manifest = {"name": name, "mountPath": path}
    return {**mount, "readOnly": True} if read_only else mount


def _token() -> Manifest:
    """What the API server mounts by itself into every container, for those that need it only."""
    field = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", **field}]}},
    ]
    return {"name": _TOKEN, "projected": {"defaultMode": 0o444, "sources": sources}}
