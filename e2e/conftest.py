"""What every story has: a cluster, and a namespace of its own that is gone afterwards."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fake import faked_node
from harness.kubectl import Kubectl
from harness.models import specialists
from harness.release import install
from harness.storage import offer_volumes
from harness.target import own_cluster, target

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def cluster() -> Kubectl:
    return target()


@pytest.fixture(scope="session")
def definitions(cluster: Kubectl) -> Kubectl:
    """The cluster, with this checkout's CustomResourceDefinitions."""
    cluster("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    for plural in ("modelpools", "submodels"):
        cluster("wait", "--for=condition=Established", f"crd/{plural}.fastserve.io", "--timeout=30s")
    return cluster


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace named after the story's folder, with Pod Security "restricted" enforced."""
    folder = Path(request.module.__file__).parent.name
    name = "story-" + re.sub(r"[^a-z0-9-]", "-", folder.lower())
    cluster("delete", "namespace", name, "--ignore-not-found", "--wait", seconds=180)
    cluster("create", "namespace", name)
    cluster("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    if own_cluster():
        offer_volumes(cluster)  # again: all stories together claim more of them than there are
    try:
        yield cluster.within(name)
    finally:
        cluster("delete", "namespace", name, "--ignore-not-found", "--wait", seconds=300)


@pytest.fixture(scope="session")
def installed(definitions: Kubectl) -> Kubectl:
    """The cluster with FastServe on it, by its chart, and with volumes to claim."""
    if own_cluster():
        offer_volumes(definitions)
    install(definitions)
    return definitions


@pytest.fixture(scope="module")
def fake_place(cluster: Kubectl, request: pytest.FixtureRequest) -> Iterator[None]:
    """A node that kwok plays, for harness.fake's pools."""
    folder = Path(request.module.__file__).parent.name
    with faked_node(cluster, f"fake-{folder.lower()}"):
        yield


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """Folder of the four news specialists."""
    return specialists()
