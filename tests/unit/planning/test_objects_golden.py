"""All Kubernetes objects of one pool, compared with checked-in files, one for each object.

After a change that is meant, write the files again and read the difference:

    PYTHONPATH=tests python tests/unit/planning/test_objects_golden.py
"""

import json
from pathlib import Path

from fastserve.api.manifests import parse
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import Manifest
from fastserve.api.routes import RouteTable
from fastserve.api.scaling import Staff
from fastserve.api.submodel import SubModel
from fastserve.planning.objects import member_objects, pool_objects, workloads
from fastserve.planning.objects.ownership import owned
from fastserve.planning.objects.settings import ImageSet, NetworkSetting, ObjectSettings
from fastserve.planning.objects.template import member_template, standby_template

HERE = Path(__file__).parent / "golden_objects"
SETTINGS = ObjectSettings(
    ImageSet("registry.example/router:1", "registry.example/triton:1", pull_secrets=("registry",)),
    NetworkSetting(prometheus_namespace="monitoring"),
)

SCALED = {"sport": Staff()}
"""Whom the pool's routers are to scale."""


def written() -> tuple[ModelPool, tuple[SubModel, ...]]:
    manifests = parse((HERE / "pool.yaml").read_text(encoding="utf-8"), "pool.yaml")
    return manifests.pools[0], manifests.sub_models


def owner(document: ModelPool | SubModel) -> Manifest:
    name = document.metadata.name
    return {
        "apiVersion": document.api_version,
        "kind": document.kind,
        "metadata": {"name": name, "uid": f"uid-of-{name}"},
    }


def empty_table(pool: ModelPool) -> RouteTable:
    return RouteTable(
        pool=pool.metadata.name,
        task=pool.spec.task,
        selection=pool.spec.selection,
        method=pool.spec.method,
        deadline_millis=pool.spec.combination.deadline_millis,
        min_members=pool.spec.combination.min_members,
        limits=pool.spec.router.limits,
        members=(),
    )


def objects_of_pool(pool: ModelPool, members: tuple[str, ...]) -> list[Manifest]:
    standby = workloads.standby_workload(pool, standby_template(pool, SETTINGS), 2)
    made = [
        pool_objects.service_account(pool),
        pool_objects.role(pool, members, SCALED),
        pool_objects.scaling_lease(pool),
        pool_objects.role_binding(pool),
        pool_objects.routes_object(pool, empty_table(pool)),
        pool_objects.pool_service(pool),
        pool_objects.network_policy(pool, SETTINGS.network),
        pool_objects.standby_budget(pool),
        workloads.controller_revision(standby, 1),
        workloads.deployment(standby),
    ]
    return [owned(manifest, owner(pool)) for manifest in made if manifest is not None]


def objects_of_member(pool: ModelPool, member: SubModel) -> list[Manifest]:
    template = member_template(pool, member, SETTINGS)
    made = [
        member_objects.member_service(pool, member),
        member_objects.member_budget(pool, member),
        member_objects.prototypes_object(pool, member, "0" * 64, b"\x93NUMPY"),
        workloads.deployment(workloads.member_workload(pool, member, template, member.spec.replicas)),
    ]
    return [owned(manifest, owner(member)) for manifest in made if manifest is not None]


def golden_files() -> dict[str, str]:
    """Relative path to text."""
    pool, members = written()
    folders = {"pool": objects_of_pool(pool, tuple(member.metadata.name for member in members))}
    folders |= {member.metadata.name: objects_of_member(pool, member) for member in members}
    return {
        f"{folder}/{manifest['kind'].lower()}.json"
        if manifest["kind"] != "ConfigMap"
        else f"{folder}/configmap-{manifest['metadata']['name']}.json": json.dumps(manifest, indent=2) + "\n"
        for folder, manifests in folders.items()
        for manifest in manifests
    }


def test_the_objects_are_the_ones_that_are_checked_in() -> None:
    folder = HERE / "expected"
    found = {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in folder.rglob("*.json")
    }
    assert golden_files() == found


def write() -> None:
    for path, text in golden_files().items():
        file = HERE / "expected" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
