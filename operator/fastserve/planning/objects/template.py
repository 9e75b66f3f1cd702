"""What the pods of a sub-model and of a pool are made of, and the revision that identifies it.

A revision is the hash of what a user says about pods. Versions of the weights are not in it, since those are
exchanged inside running pods; images and the operator's own version are not in it, since an upgrade of the
operator must not restart anybody's GPUs. Fields that keep their default are not in it either, so that a newer
operator with one more field makes the same revision of the same spec.
"""

from collections.abc import Sequence
from typing import Any

from fastserve.api.identity import RESTARTED_ANNOTATION
from fastserve.api.meta import Document
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import Manifest
from fastserve.api.pods import LocalReference, PodTemplate
from fastserve.api.submodel import SubModel
from fastserve.planning.objects import naming, pod_paths
from fastserve.planning.objects.affinity import affinity
from fastserve.planning.objects.compute import ROUTER_REQUESTS, TRITON_REQUESTS, gpus, layered
from fastserve.planning.objects.containers import (
    Part,
    access_settings,
    as_sidecar,
    router_container,
    sidecar_settings,
    standby_settings,
    triton_container,
)
from fastserve.planning.objects.security import pod_security
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.volumes import (
    access_mounts,
    access_volumes,
    claim_of,
    member_volumes,
    sidecar_mounts,
    standby_mounts,
    standby_volumes,
    triton_mounts,
)
from fastserve.planning.routes import image_of


def member_revision(pool: ModelPool, sub_model: SubModel) -> str:
    """The revision of the sub-model's pods, eight hex digits."""
    by_pool = {"routerResources": _said(pool.spec.router.resources), **_access_said(pool)}
    return naming.revision_of({**_member_said(sub_model), **by_pool})


def own_revision(sub_model: SubModel) -> str:
    """What the sub-model itself says of its pods, whatever its pool does; eight hex digits."""
    return naming.revision_of(_member_said(sub_model))


def standby_revision(pool: ModelPool) -> str:
    """The revision of the pool's stand-by routers, eight hex digits."""
    return naming.revision_of(
        {
            "podTemplate": _said(pool.spec.router.pod_template),
            "routerResources": _said(pool.spec.router.resources),
            "restartedAt": pool.metadata.annotations.get(RESTARTED_ANNOTATION, ""),
            **_access_said(pool),
        }
    )


def member_template(pool: ModelPool, sub_model: SubModel, settings: ObjectSettings) -> Manifest:
    """The pod template of the sub-model's wanted revision: Triton, and the router as native sidecar."""
    spec, written = sub_model.spec, sub_model.spec.pod_template
    pool_name, name = pool.metadata.name, sub_model.metadata.name
    credentials_path = pod_paths.CREDENTIALS if spec.model.credentials else None
    router = router_container(
        Part(
            settings.images,
            layered(ROUTER_REQUESTS, pool.spec.router.resources),
            [*sidecar_mounts(sub_model), *access_mounts(pool.spec.router)],
        ),
        {**sidecar_settings(pool_name, name, credentials_path), **access_settings(pool.spec.router)},
    )
    triton = triton_container(
        Part(
            settings.images,
            layered(TRITON_REQUESTS, written.resources, gpus(spec)),
            triton_mounts(sub_model),
            written.env,
        )
    )
    labels = {
        **naming.member_labels(pool_name, name),
        **naming.member_selector(pool_name, name),
    }
    return {
        "metadata": _metadata(written, naming.with_revision(labels, member_revision(pool, sub_model))),
        "spec": {
            "initContainers": [as_sidecar(router)],
            "containers": [triton],
            "volumes": [*member_volumes(sub_model), *access_volumes(pool.spec.router)],
            **_shared(pool, written, settings.images),
            **_said_or_nothing(affinity=affinity(written.affinity, spec.gpu)),
        },
    }


def standby_template(pool: ModelPool, settings: ObjectSettings) -> Manifest:
    """The pod template of the pool's wanted stand-by revision: one router."""
    written, name = pool.spec.router.pod_template, pool.metadata.name
    resources = layered(ROUTER_REQUESTS, pool.spec.router.resources, written.resources)
    router = router_container(
        Part(settings.images, resources, [*standby_mounts(), *access_mounts(pool.spec.router)], written.env),
        {**standby_settings(name), **access_settings(pool.spec.router)},
    )
    labels = {**naming.pool_labels(name), **naming.standby_selector(name)}
    return {
        "metadata": _metadata(written, naming.with_revision(labels, standby_revision(pool))),
        "spec": {
            "containers": [router],
            "volumes": [*standby_volumes(), *access_volumes(pool.spec.router)],
            **_shared(pool, written, settings.images),
            **_said_or_nothing(affinity=affinity(written.affinity, None)),
        },
    }


def _member_said(sub_model: SubModel) -> dict[str, Any]:
    spec, image = sub_model.spec, image_of(sub_model)
    credentials = spec.model.credentials
    return {
        "gpu": _said(spec.gpu),
        "tensor": spec.parallelism.tensor,
        "podTemplate": _said(spec.pod_template),
        "credentials": credentials.secret_name if credentials else None,
        "sizeLimit": spec.model.size_limit,
        "claim": claim_of(sub_model),
        **_said_or_nothing(image=image),
        "restartedAt": sub_model.metadata.annotations.get(RESTARTED_ANNOTATION, ""),
    }


def _access_said(pool: ModelPool) -> dict[str, Any]:
    """Which Secrets routers mount; nothing where there are none, so that such pools keep their revision."""
    router = pool.spec.router
    return _said_or_nothing(auth=_said(router.auth), tls=_said(router.tls))


def _metadata(written: PodTemplate, own_labels: dict[str, str]) -> Manifest:
    labels = {**written.labels, **own_labels}
    return {"labels": labels, **_said_or_nothing(annotations=dict(written.annotations))}


def _shared(pool: ModelPool, written: PodTemplate, images: ImageSet) -> Manifest:
    """What member and stand-by pods have in common, and what is passed on as it is."""
    return {
        "serviceAccountName": written.service_account_name or naming.routers_of_pool(pool.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": pod_paths.GRACE_SECONDS,
        "securityContext": pod_security(),
        **_said_or_nothing(
            imagePullSecrets=_pull_secrets(written.image_pull_secrets, images.pull_secrets),
            nodeSelector=dict(written.node_selector),
            tolerations=[_said(toleration) for toleration in written.tolerations],
            topologySpreadConstraints=list(written.topology_spread_constraints),
            priorityClassName=written.priority_class_name,
            runtimeClassName=written.runtime_class_name,
            schedulerName=written.scheduler_name,
        ),
    }


def _pull_secrets(written: Sequence[LocalReference], everywhere: Sequence[str]) -> list[Manifest]:
    names = dict.fromkeys([*(secret.name for secret in written), *everywhere])
    return [{"name": name} for name in names]


def _said(document: Document | None) -> Any:
    """What a document says beyond its defaults, as JSON; None where there is none."""
    return document.model_dump(mode="json", by_alias=True, exclude_defaults=True) if document else None


def _said_or_nothing(**fields: Any) -> Manifest:
    return {name: value for name, value in fields.items() if value}
