"""An edit changes what it is about and nothing else."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

from harness import fake
from harness.contents import lives
from harness.kubectl import Kubectl, Manifest
from harness.trace import pods
from harness.waiting import at_rest, eventually

pytestmark = [pytest.mark.ci, pytest.mark.timeout(600)]

REVISION = re.compile(r"-[0-9a-f]{8}$")
ROUTES = "~ConfigMap/news-p-routes"
SUSPENDED = ["~Deployment/news-p-standby-*", "~Deployment/sport-m-*", "~Deployment/world-m-*", ROUTES]
MEMBER, DOOR = "~Deployment/sport-m-*", "~Deployment/news-p-standby-*"
NEXT_REVISION = ["+ControllerRevision/sport-m-*", "+Deployment/sport-m-*", "-Deployment/sport-m-*"]


@dataclass(frozen=True)
class Edit:
    """What is typed, and the children that become another (``~``), new (``+``) or gone (``-``)."""

    what: str
    command: tuple[str, ...]
    changes: list[str]


def patched(what: str, target: str, spec: dict[str, Any], changes: list[str]) -> Edit:
    return Edit(what, ("patch", target, "--type=merge", "-p", json.dumps({"spec": spec})), sorted(changes))


def restarted(when: str, changes: list[str]) -> Edit:
    mark = f"fastserve.io/restarted-at={when}"
    return Edit(f"restarted-at {when}", ("annotate", "--overwrite", "fss/sport", mark), sorted(changes))


SPORT, NEWS = "submodel/sport", "modelpool/news"
EDITS = [
    Edit("a label of the SubModel", ("label", "fss/sport", "team=desk"), []),
    patched("examples", SPORT, {"examples": ["a goal", "a match"]}, [ROUTES]),
    patched("description", SPORT, {"description": "All sports."}, [ROUTES]),
    patched("topK", NEWS, {"selection": {"topK": 1}}, [ROUTES]),
    patched("replicas 1 -> 2", SPORT, {"replicas": 2}, [MEMBER, "+PodDisruptionBudget/sport-m"]),
    Edit("kubectl scale fss", ("scale", "fss/sport", "--replicas=3"), [MEMBER]),
    patched("replicas 3 -> 1", SPORT, {"replicas": 1}, [MEMBER, "-PodDisruptionBudget/sport-m"]),
    patched(
        "podTemplate.env",
        SPORT,
        {"podTemplate": {**fake.PLACE, "env": [{"name": "A", "value": "b"}]}},
        NEXT_REVISION,
    ),
    restarted("today", [*NEXT_REVISION, "-ControllerRevision/sport-m-*"]),
    patched("suspend the SubModel", SPORT, {"suspend": True}, [MEMBER]),
    patched("the SubModel is back", SPORT, {"suspend": False}, [MEMBER]),
    patched("suspend the pool", NEWS, {"suspend": True}, SUSPENDED),
    patched("the pool is back", NEWS, {"suspend": False}, SUSPENDED),
    patched(
        "standbyReplicas 1 -> 2",
        NEWS,
        {"router": {"standbyReplicas": 2}},
        [DOOR, ROUTES, "+PodDisruptionBudget/news-p-standby"],
    ),
]


@pytest.fixture(scope="module")
def desk(installed: Kubectl, fake_place: None, namespace: Kubectl) -> Kubectl:
    """The pool `news` with the sub-models `sport` and `world`."""
    fake.apply(namespace, fake.pool(), fake.sub_model("sport"), fake.sub_model("world"))
    eventually(lambda: len(pods(namespace)) == 3, 60, "three pods")
    at_rest(lambda: lives(namespace))
    return namespace


def changes(before: dict[str, Manifest], after: dict[str, Manifest]) -> list[str]:
    found = [f"+{name}" for name in after.keys() - before.keys()]
    found += [f"-{name}" for name in before.keys() - after.keys()]
    found += [f"~{name}" for name in before.keys() & after.keys() if before[name] != after[name]]
    return sorted(REVISION.sub("-*", name) for name in found)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.what)
def test_an_edit_changes_the_expected_children_only(desk: Kubectl, edit: Edit) -> None:
    before = lives(desk)
    desk(*edit.command)
    start = time.monotonic()

    def done() -> float:
        assert (now := changes(before, lives(desk))) == edit.changes, now
        return time.monotonic() - start

    seconds = eventually(done, 60, f"{edit.what} changes {edit.changes}")
    assert changes(before, at_rest(lambda: lives(desk))) == edit.changes
    print(f"{edit.what:24} {seconds:5.1f} s  {' '.join(edit.changes) or 'nothing'}")


def test_a_suspended_sub_model_has_no_pods_and_says_so(desk: Kubectl) -> None:
    desk("patch", SPORT, "--type=merge", "-p", '{"spec":{"suspend":true}}')

    def suspended() -> bool:
        said = {one["type"]: one for one in desk.get("submodel", "sport")["status"]["conditions"]}
        assert (said["Suspended"]["status"], said["Ready"]["reason"]) == ("True", "Suspended"), said
        return not pods(desk, "fastserve.io/submodel=sport")

    eventually(suspended, 30, "no pod is left and the status says why")
    desk("patch", SPORT, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    eventually(lambda: len(pods(desk, "fastserve.io/submodel=sport")) == 1, 30, "its pod is back")


def test_scale_tells_what_is_there(desk: Kubectl) -> None:
    desk("scale", "fss/sport", "--replicas=2")

    def scaled() -> bool:
        told: dict[str, Any] = json.loads(desk("get", "fss/sport", "--subresource=scale", "-o", "json"))
        assert told["status"]["replicas"] == 2, told
        found = desk.list_of("pods", told["status"]["selector"])
        return len(found) == told["spec"]["replicas"] == 2

    eventually(scaled, 30, "/scale speaks of two pods, and its selector finds them")
