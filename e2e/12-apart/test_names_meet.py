"""Names that meet, and a release that serves one namespace: nobody takes over what is another's."""

import json
from collections.abc import Iterator

import pytest

from harness import fake
from harness.kubectl import Kubectl
from harness.operators import operator_user
from harness.release import install
from harness.statuses import condition, is_so
from harness.trace import parts
from harness.waiting import at_rest, eventually

pytestmark = pytest.mark.timeout(600)

UNWATCHED = "story-12-apart-unwatched"


@pytest.fixture(scope="module")
def desk(installed: Kubectl, fake_place: None, namespace: Kubectl) -> Kubectl:
    return namespace


@pytest.fixture(scope="module")
def unwatched(cluster: Kubectl) -> Iterator[Kubectl]:
    cluster("delete", "namespace", UNWATCHED, "--ignore-not-found", "--wait", seconds=120)
    cluster("create", "namespace", UNWATCHED)
    yield cluster.within(UNWATCHED)
    cluster("delete", "namespace", UNWATCHED, "--wait", seconds=120)


def test_a_pool_whose_name_is_that_of_a_sub_models_service(desk: Kubectl) -> None:
    fake.apply(desk, fake.pool("news"), fake.sub_model("sport"))
    eventually(lambda: desk.find("service", "sport-m"), 30, "the sub-model's Service")
    before = desk.get("service", "sport-m")
    fake.apply(desk, fake.pool("sport-m"))

    def told() -> str:
        status = json.dumps(desk.get("modelpool", "sport-m").get("status", {}))
        assert "Service sport-m is there" in status, status
        return str(condition(desk.get("modelpool", "sport-m"), "Ready"))

    said = eventually(told, 30, "the pool names who has its Service's name")
    print(said)
    assert desk.get("service", "sport-m") == before
    desk("delete", "fss/sport")

    def made() -> bool:
        service = desk.get("service", "sport-m")
        assert service["metadata"]["ownerReferences"][0]["kind"] == "ModelPool"
        return is_so(desk.get("modelpool", "sport-m"), "Accepted")

    eventually(made, 60, "the name is free, and the pool has its Service")
    desk("delete", "fsp", "--all")


def test_a_release_that_watches_one_namespace_serves_it_alone(
    installed: Kubectl, desk: Kubectl, unwatched: Kubectl
) -> None:
    for place in (desk, unwatched):
        fake.apply(place, fake.pool(), fake.sub_model("sport"))
        eventually(lambda place=place: parts(place), 30, "the pool has objects")  # type: ignore[misc]
        at_rest(lambda place=place: parts(place))  # type: ignore[misc]
    install(installed, "--set", f"watchNamespaces={{{desk.namespace}}}")
    try:
        before = parts(unwatched)
        for place in (desk, unwatched):
            place("scale", "fss/sport", "--replicas=2")
        eventually(lambda: "PodDisruptionBudget/sport-m" in parts(desk), 30, "its own namespace is served")
        assert at_rest(lambda: parts(unwatched), 5) == before
        assert rights(installed, desk) == {"pods": True, "deployments": True}
        assert rights(installed, unwatched) == {"pods": False, "deployments": False}
    finally:
        install(installed)
    eventually(lambda: "PodDisruptionBudget/sport-m" in parts(unwatched), 60, "the other one is served again")


def rights(cluster: Kubectl, place: Kubectl) -> dict[str, bool]:
    """What the operator may list in a namespace."""
    user = operator_user(cluster)
    return {
        kind: place.attempt("auth", "can-i", "list", kind, f"--as={user}").stdout.strip() == "yes"
        for kind in ("pods", "deployments")
    }
