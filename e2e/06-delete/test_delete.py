"""Whatever is deleted takes its own with it, and nothing else; also while the operator is away."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import fake
from harness.contents import contents
from harness.kubectl import Kubectl
from harness.operators import operator_away
from harness.statuses import condition
from harness.trace import POOL_PARTS, parts, pods, uids
from harness.waiting import at_rest, eventually

pytestmark = pytest.mark.timeout(900)

BYSTANDERS = {"ConfigMap/bystander", "Service/bystander"}
"""Objects with a pool's labels that no pool owns."""
BYSTANDER = "bystander"
OF_POOL, OF_SPORT = "fastserve.io/pool=news", "fastserve.io/submodel=sport"
SECONDS = 60


@pytest.fixture(scope="module")
def desk(installed: Kubectl, fake_place: None, namespace: Kubectl) -> Kubectl:
    fake.apply(namespace, *(_bystander(kind, spec) for kind, spec in (("ConfigMap", {}), ("Service", PORT))))
    return namespace


PORT = {"spec": {"ports": [{"port": 80}]}}


def _bystander(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    labels = {
        "fastserve.io/pool": "news",
        "fastserve.io/submodel": "sport",
        "app.kubernetes.io/managed-by": "fastserve-operator",
        BYSTANDER: "true",
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "bystander", "labels": labels}, **spec}


@pytest.fixture
def news(desk: Kubectl) -> Iterator[Kubectl]:
    """The pool with two sub-models, at rest; afterwards nothing is left of it but what never was its own."""
    make(desk)
    yield desk
    desk("delete", "fsp,fss", "--all", "--ignore-not-found")
    eventually(lambda: gone(desk, OF_POOL), SECONDS, "nothing is left")


def make(desk: Kubectl) -> None:
    fake.apply(desk, fake.pool(), fake.sub_model("sport"), fake.sub_model("world", replicas=2))
    eventually(lambda: len(pods(desk, OF_POOL)) == 4, SECONDS, "four pods")
    at_rest(lambda: parts(desk))


def gone(desk: Kubectl, selector: str) -> bool:
    """Nothing with these labels is there but the bystanders, and they are. Raises AssertionError."""
    left = set(parts(desk, selector)) | {f"Pod/{name}" for name in pods(desk, selector)}
    assert left == BYSTANDERS, left
    return True


def timed(look: Callable[[], object], what: str) -> None:
    start = time.monotonic()
    eventually(look, SECONDS, what)
    print(f"{what}: {time.monotonic() - start:.1f} s")


def members_of_table(desk: Kubectl) -> list[str]:
    table = json.loads(desk.get("configmap", "news-p-routes")["data"]["routes.json"])
    return [one["name"] for one in table["members"]]


def pool_is_missed(desk: Kubectl, name: str) -> bool:
    found = desk.get("submodel", name)
    said = condition(found, "Accepted")
    assert (said["status"], said["reason"]) == ("False", "PoolNotFound"), said
    return True


def test_a_sub_model_goes_with_all_that_is_its_own(news: Kubectl) -> None:
    before = contents(news)
    news("delete", "submodel", "sport", "--wait=false")
    timed(lambda: gone(news, OF_SPORT), "a sub-model's objects are gone")
    eventually(lambda: members_of_table(news) == ["world"], SECONDS, "the table is without it")
    at_rest(lambda: parts(news))
    left = contents(news)
    changed = {name for name in left if left[name] != before[name]}
    assert changed == {"ConfigMap/news-p-routes", "Role/news-p-router"}
    assert {name for name in before if "sport" not in name} == set(left)


def test_a_pool_goes_and_its_sub_models_wait_for_it(news: Kubectl) -> None:
    before = contents(news)
    uids = {one["metadata"]["uid"] for one in news.list_of("submodels")}
    news("delete", "modelpool", "news", "--wait=false")
    timed(lambda: gone(news, OF_POOL), "a pool's objects, and those of its sub-models, are gone")
    for name in ("sport", "world"):
        eventually(lambda name=name: pool_is_missed(news, name), SECONDS, f"{name} says so")  # type: ignore[misc]
    assert {one["metadata"]["uid"] for one in news.list_of("submodels")} == uids
    fake.apply(news, fake.pool())
    timed(lambda: len(pods(news, OF_POOL)) == 4, "the pool is back, and all pods")
    at_rest(lambda: parts(news))
    assert set(contents(news)) == set(before)


def test_a_sub_model_goes_while_the_operator_is_away(news: Kubectl) -> None:
    with operator_away(news):
        news("delete", "submodel", "sport", "--wait=false")
        timed(lambda: gone(news, OF_SPORT), "operator away: a sub-model's objects are gone")
        assert members_of_table(news) == ["sport", "world"]
    timed(lambda: members_of_table(news) == ["world"], "operator back: the table is without it")


def test_a_pool_goes_while_the_operator_is_away(news: Kubectl) -> None:
    with operator_away(news):
        news("delete", "modelpool", "news", "--wait=false")

        def only_members() -> bool:
            left = {name for name in parts(news, OF_POOL) if "sport" not in name and "world" not in name}
            assert left == BYSTANDERS, left
            return True

        timed(only_members, "operator away: the pool's own objects are gone")
        assert len(pods(news, OF_POOL)) == 3
    timed(lambda: gone(news, OF_POOL), "operator back: those of its sub-models are gone too")
    for name in ("sport", "world"):
        eventually(lambda name=name: pool_is_missed(news, name), SECONDS, f"{name} says so")  # type: ignore[misc]


def test_everything_goes_while_the_operator_is_away(news: Kubectl) -> None:
    with operator_away(news):
        news("delete", "fsp,fss", "--all", "--wait=false")
        timed(lambda: gone(news, OF_POOL), "operator away: everything is gone")
    assert at_rest(lambda: parts(news, OF_POOL)).keys() == BYSTANDERS


def test_a_pool_that_was_deleted_and_made_again_meanwhile_is_another(news: Kubectl) -> None:
    with operator_away(news):
        news("delete", "fsp,fss", "--all")
        fake.apply(news, fake.pool(), fake.sub_model("sport"), fake.sub_model("world", replicas=2))
    new = {one["metadata"]["uid"] for one in news.list_of("fsp,fss")}

    def all_new() -> bool:
        owned = {name: one["owners"] for name, one in contents(news).items() if name not in BYSTANDERS}
        assert {uid for uids in owned.values() for uid in uids} == new, owned
        return len(pods(news, OF_POOL)) == 4

    timed(all_new, "operator back: every object belongs to the new ones")


def test_what_was_orphaned_stays_and_is_taken_over_by_nobody(news: Kubectl) -> None:
    kept = {name: one for name, one in uids(news, POOL_PARTS).items() if "sport" in name}
    running = pods(news, OF_SPORT)
    assert kept
    news("delete", "fss/sport", "--cascade=orphan")
    at_rest(lambda: parts(news))
    assert {name: one for name, one in uids(news, POOL_PARTS).items() if "sport" in name} == kept
    assert pods(news, OF_SPORT) == running
    assert all(not one["owners"] for name, one in contents(news, OF_SPORT).items())
    fake.apply(news, fake.sub_model("sport"))

    def named() -> str:
        said = str(news.get("submodel", "sport").get("status", {}))
        assert "controlled by nobody" in said, said
        return str(condition(news.get("submodel", "sport"), "Ready"))

    print(eventually(named, SECONDS, "the new sub-model names what has its names"))
    news("delete", "deployments,services,controllerrevisions", "-l", f"{OF_SPORT},!{BYSTANDER}")

    def ours() -> bool:
        owners = {name: one["owners"] for name, one in contents(news, OF_SPORT).items()}
        uid = news.get("submodel", "sport")["metadata"]["uid"]
        assert {name for name, one in owners.items() if one != [uid]} == BYSTANDERS, owners
        return len(owners) == 3 + len(BYSTANDERS)

    timed(ours, "orphans deleted by hand: the sub-model has objects of its own")


@pytest.mark.parametrize("away", [False, True], ids=["operator there", "operator away"])
def test_a_namespace_goes(installed: Kubectl, fake_place: None, away: bool) -> None:
    name = f"story-06-delete-{'away' if away else 'there'}"
    installed("create", "namespace", name)
    desk = installed.within(name)
    make(desk)
    start = time.monotonic()
    if away:
        with operator_away(installed):
            installed("delete", "namespace", name, "--wait", seconds=120)
    else:
        installed("delete", "namespace", name, "--wait", seconds=120)
    print(f"a namespace is gone{' (operator away)' if away else ''}: {time.monotonic() - start:.1f} s")
