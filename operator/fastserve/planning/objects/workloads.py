"""Deployments and the ControllerRevisions that keep their templates: one pair for each revision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fastserve.api.identity import REVISION_LABEL
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import CONTROLLER_REVISION, DEPLOYMENT, Kind, Manifest
from fastserve.api.submodel import SubModel
from fastserve.planning.objects import naming

PROGRESS_SECONDS: Final = 600
"""After this long without progress a Deployment says so; weights of many GiB take minutes to come."""
Strategy = Literal["Recreate", "RollingUpdate"]


@dataclass(frozen=True)
class Workload:
    """One revision's Deployment. `labels` are those of the object, `selector` those of its pods and of no
    other revision's."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    selector: Mapping[str, str]
    template: Manifest
    replicas: int
    strategy: Strategy


def member_workload(pool: ModelPool, sub_model: SubModel, template: Manifest, replicas: int) -> Workload:
    """The workload of the revision that `template` is of. GPUs are not asked for twice: a pod that takes
    another's place comes when the other has gone."""
    pool_name, name, revision = pool.metadata.name, sub_model.metadata.name, revision_of(template)
    return Workload(
        pool.metadata.namespace,
        naming.workload_of_member(name, revision),
        naming.with_revision(naming.member_labels(pool_name, name), revision),
        naming.with_revision(naming.member_selector(pool_name, name), revision),
        template,
        replicas,
        "Recreate" if sub_model.spec.gpu is not None else "RollingUpdate",
    )


def standby_workload(pool: ModelPool, template: Manifest, replicas: int) -> Workload:
    """The workload of the stand-by revision that `template` is of."""
    name, revision = pool.metadata.name, revision_of(template)
    return Workload(
        pool.metadata.namespace,
        naming.standby_revision(name, revision),
        naming.with_revision(naming.pool_labels(name), revision),
        naming.with_revision(naming.standby_selector(name), revision),
        template,
        replicas,
        "RollingUpdate",
    )


def revision_of(template: Manifest) -> str:
    """The revision that a pod template's labels tell."""
    return str(template["metadata"]["labels"][REVISION_LABEL])


def deployment(workload: Workload) -> Manifest:
    """The Deployment. Kubernetes keeps none of its older ReplicaSets: each revision is a Deployment of its
    own, and goes as a whole."""
    return {
        **_head(DEPLOYMENT, workload),
        "spec": {
            "replicas": workload.replicas,
            "selector": {"matchLabels": dict(workload.selector)},
            "strategy": _strategy(workload.strategy),
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "template": workload.template,
        },
    }


def controller_revision(workload: Workload, number: int) -> Manifest:
    """The ControllerRevision that keeps the workload's template as it was first rendered. `number` grows
    with every revision of its owner."""
    return {
        **_head(CONTROLLER_REVISION, workload),
        "data": {"template": workload.template},
        "revision": number,
    }


def kept_template(controller_revision: Manifest) -> Manifest:
    """The template that a ControllerRevision of ours keeps."""
    template: Manifest = controller_revision["data"]["template"]
    return template


def _head(kind: Kind, workload: Workload) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "namespace": workload.namespace,
            "name": workload.name,
            "labels": dict(workload.labels),
        },
    }


def _strategy(strategy: Strategy) -> Manifest:
    if strategy == "Recreate":
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
