"""Names and labels of everything that the operator makes. All names stay within 63 characters, because
those of pools and sub-models stay within 40."""

from collections.abc import Mapping
from typing import Any

from fastserve.api.identity import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POOL_LABEL,
    REVISION_LABEL,
    ROLE_LABEL,
    SUBMODEL_LABEL,
    digest_of,
)

MEMBER, STANDBY = "member", "standby"


def service_of_pool(pool: str) -> str:
    return pool


def routes_of_pool(pool: str) -> str:
    return f"{pool}-p-routes"


def routers_of_pool(pool: str) -> str:
    """ServiceAccount, Role, RoleBinding and NetworkPolicy of a pool's routers."""
    return f"{pool}-p-router"


def standby_of_pool(pool: str) -> str:
    """Its PodDisruptionBudget; its Deployment adds a revision."""
    return f"{pool}-p-standby"


def standby_revision(pool: str, revision: str) -> str:
    return f"{pool}-p-standby-{revision}"


def service_of_member(sub_model: str) -> str:
    """The headless Service and the PodDisruptionBudget of a sub-model."""
    return f"{sub_model}-m"


def workload_of_member(sub_model: str, revision: str) -> str:
    """Deployment and ControllerRevision of one revision of a sub-model."""
    return f"{sub_model}-m-{revision}"


def prototypes_of_member(sub_model: str) -> str:
    return f"{sub_model}-m-prototypes"


def revision_of(shape: Mapping[str, Any]) -> str:
    """Eight hex digits that identify what a pod is made of."""
    return digest_of(shape)[:8]


def pool_labels(pool: str) -> dict[str, str]:
    """Labels of every object of a pool."""
    return {
        "app.kubernetes.io/name": "fastserve",
        "app.kubernetes.io/instance": pool,
        "app.kubernetes.io/part-of": "fastserve",
        MANAGED_BY_LABEL: MANAGED_BY,
        POOL_LABEL: pool,
    }


def member_labels(pool: str, sub_model: str) -> dict[str, str]:
    """Labels of every object of a sub-model."""
    return {**pool_labels(pool), SUBMODEL_LABEL: sub_model}


def standby_selector(pool: str) -> dict[str, str]:
    return {POOL_LABEL: pool, ROLE_LABEL: STANDBY}


def member_selector(pool: str, sub_model: str) -> dict[str, str]:
    return {POOL_LABEL: pool, SUBMODEL_LABEL: sub_model, ROLE_LABEL: MEMBER}


def with_revision(labels: Mapping[str, str], revision: str) -> dict[str, str]:
    return {**labels, REVISION_LABEL: revision}
