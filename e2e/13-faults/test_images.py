import json
import time

import pytest

from harness.example import member
from harness.kubectl import Kubectl
from harness.release import images, install
from harness.rows import said_of, show, timed
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(600)

ABSENT = "absent"


def test_an_image_that_cannot_be_pulled(installed: Kubectl, namespace: Kubectl) -> None:
    news = {"apiVersion": "fastserve.io/v1alpha1", "kind": "ModelPool", "metadata": {"name": "news"}}
    try:
        install(installed, "--set", f"images.router.tag={ABSENT}")
        for document in (news, member("sport", model={"storageUri": "https://nobody.invalid/model.tar"})):
            namespace.apply(json.dumps(document))
        told = ("Ready", "False", "ImageUnpullable")
        seconds, said = timed(lambda: said_of(namespace, "submodel", "sport", told), 120, "it is told")
        show("a router image that there is not", seconds, said)
        assert ABSENT in said["message"]
        _at_once(namespace)
        failure = eventually(lambda: _pool_failure(namespace), 60, "the pool tells it of its own routers")
        print(f"         the pool: {failure['reason']}: {failure['message']}")
        assert failure["pod"].startswith("news-p-standby-")
    finally:
        # Helm refuses while somebody else is at work on the release; it has to be put back all the same.
        eventually(lambda: install(installed), 180, "the release is put back")
    _way_out(namespace)


def _pool_failure(namespace: Kubectl) -> dict[str, str] | None:
    failure: dict[str, str] = namespace.get("modelpool", "news")["status"].get("lastFailure") or {}
    return failure if failure.get("reason") == "ImageUnpullable" else None


def _at_once(namespace: Kubectl) -> None:
    """The kubelet tells the same in turns, with and without a preface: the status stays as it is."""
    first, end, looks = namespace.get("submodel", "sport")["status"]["lastFailure"], time.monotonic() + 20, 0
    while time.monotonic() < end:
        assert namespace.get("submodel", "sport")["status"]["lastFailure"] == first
        looks += 1
        time.sleep(0.5)
    print(f"         the same word for word in {looks} looks, through the kubelet's back-off")


def _way_out(namespace: Kubectl) -> None:
    """The image is right again, and the pods are told to be made anew."""
    for thing in ("submodel/sport", "modelpool/news"):
        namespace("annotate", thing, "fastserve.io/restarted-at=now")
    told = ("Ready", "False", "SourceUnavailable")
    seconds, said = timed(lambda: said_of(namespace, "submodel", "sport", told), 180, "the router runs")
    show("the right image, and restarted-at", seconds, said)
    pods = namespace.list_of("pods", "fastserve.io/pool=news")
    assert {pod["spec"]["initContainers"][0]["image"] for pod in pods if "initContainers" in pod["spec"]} == {
        images()["router"]
    }
