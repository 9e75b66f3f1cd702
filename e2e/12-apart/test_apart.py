"""Two pools in one namespace, and two namespaces with a pool of the same name: each answers its own only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asking import forwarded, predict
from harness.example import load_models, member
from harness.kubectl import Kubectl, Manifest
from harness.statuses import must_be
from harness.trace import parts, pods
from harness.waiting import at_rest, eventually

pytestmark = pytest.mark.timeout(900)

QUESTIONS = {
    "sport": "The striker scored twice in the cup final.",
    "business": "The central bank raised its interest rate by a quarter of a point.",
    "science": "Astronomers saw a comet pass close to the planet.",
}
OTHER = "story-12-apart-other"


def pool(name: str, only: str) -> Manifest:
    """No text is refused: the pool's `only` sub-model answers what is near to nobody."""
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": name},
        "spec": {"selection": {"fallback": {"type": "SubModel", "subModel": only}}},
    }


def of(name: str, specialist: str, pool: str) -> Manifest:
    """The sub-model `name` of `pool` with a specialist's weights."""
    return member(name, poolRef={"name": pool}, model={"storageUri": f"pvc://models/{specialist}"})


@pytest.fixture(scope="module")
def other(cluster: Kubectl) -> Iterator[Kubectl]:
    cluster("delete", "namespace", OTHER, "--ignore-not-found", "--wait", seconds=120)
    cluster("create", "namespace", OTHER)
    cluster("label", "namespace", OTHER, "pod-security.kubernetes.io/enforce=restricted")
    yield cluster.within(OTHER)
    cluster("delete", "namespace", OTHER, "--wait", seconds=120)


@pytest.fixture(scope="module")
def places(
    installed: Kubectl, namespace: Kubectl, other: Kubectl, checkpoints: Path
) -> tuple[Kubectl, Kubectl]:
    """The first namespace has the pools `news` and `wire`, the second another `news`. Names are chosen to
    meet: the sub-model `news` is one of the pool `wire`, and both namespaces have a sub-model `sport`."""
    for place in (namespace, other):
        load_models(place, checkpoints)
    here = (
        pool("news", "sport"),
        of("sport", "sport", "news"),
        pool("wire", "news"),
        of("news", "business", "wire"),
    )
    there = pool("news", "sport"), of("sport", "science", "news")
    for place, documents in ((namespace, here), (other, there)):
        place.apply("\n---\n".join(json.dumps(one) for one in documents))
    for place, name in ((namespace, "news"), (namespace, "wire"), (other, "news")):
        eventually(ready(place, name), 300, f"{place.namespace}/{name} is Ready")
    return namespace, other


def ready(place: Kubectl, name: str) -> Any:
    return lambda: must_be(place, "modelpool", name, "Ready")


def who(place: Kubectl, name: str, text: str) -> list[str]:
    with forwarded(place, f"service/{name}", 80) as url:
        return [one["name"] for one in predict(url, text)["members"]]


def label(place: Kubectl, name: str, text: str) -> str:
    with forwarded(place, f"service/{name}", 80) as url:
        return str(predict(url, text)["label"])


def test_each_pool_asks_its_own_members_only(places: tuple[Kubectl, Kubectl]) -> None:
    here, there = places
    for text in QUESTIONS.values():
        assert who(here, "news", text) == ["sport"]
        assert who(here, "wire", text) == ["news"]
        assert who(there, "news", text) == ["sport"]


def test_members_of_one_name_are_each_their_own_model(places: tuple[Kubectl, Kubectl]) -> None:
    here, there = places
    said = {
        "news here": label(here, "news", QUESTIONS["sport"]),
        "wire here": label(here, "wire", QUESTIONS["business"]),
        "news there": label(there, "news", QUESTIONS["science"]),
    }
    print(said)
    assert said == {"news here": "football", "wire here": "economy", "news there": "space"}


def test_statuses_and_tables_name_their_own_only(places: tuple[Kubectl, Kubectl]) -> None:
    here, there = places
    told = {
        (place.namespace, name): [one["name"] for one in place.get("modelpool", name)["status"]["members"]]
        for place, name in ((here, "news"), (here, "wire"), (there, "news"))
    }
    assert list(told.values()) == [["sport"], ["news"], ["sport"]]
    urls = {place.get("modelpool", "news")["status"]["url"] for place in places}
    assert len(urls) == 2


def test_a_pool_that_goes_leaves_its_neighbours_alone(places: tuple[Kubectl, Kubectl]) -> None:
    here, there = places
    kept = pods(here, "fastserve.io/pool=news"), pods(there)
    apart = parts(here, "fastserve.io/pool=news"), parts(there)
    here("delete", "fsp/wire", "fss/news")
    eventually(lambda: not parts(here, "fastserve.io/pool=wire"), 60, "the pool wire is gone")
    at_rest(lambda: parts(here))
    assert (pods(here, "fastserve.io/pool=news"), pods(there)) == kept
    assert (parts(here, "fastserve.io/pool=news"), parts(there)) == apart
    assert who(here, "news", QUESTIONS["sport"]) == ["sport"]
