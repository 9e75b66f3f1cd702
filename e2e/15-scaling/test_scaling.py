"""One pool from its first sleep to its last; the tests are the story's steps, in their order."""

import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.asking import Answered, answered, forwarded
from harness.audit import Audit
from harness.declared import ENGINE, NAME, write_model
from harness.example import EXAMPLES, documents, load_models
from harness.kubectl import Kubectl, Manifest
from harness.operators import operator_user
from harness.picture import picture
from harness.processes import kill, processes_of
from harness.questions import pods_of
from harness.scaling import (
    decides,
    desired,
    holder,
    holders_table,
    is_scale,
    routers_user,
    wrong_scales,
)
from harness.statuses import condition, must_be
from harness.surges import surge
from harness.target import own_cluster
from harness.timeline import Look, Moment, Timeline, as_json, timeline
from harness.waiting import eventually, throughout

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not own_cluster(), reason="the audit log of another cluster cannot be read"),
]

EXAMPLE = "03-autoscaling"
SUB_MODELS = ("science", "sport")
SCIENCE = "A comet will be visible to the naked eye in the last week of May."
SPORT = "The striker scored a hat-trick before half-time."
WAIT_SECONDS, TARGET_SECONDS, IDLE_SECONDS = 0.25, 0.5, 10
SCALING = {
    "minReplicas": 0,
    "maxReplicas": 4,
    "targetQueueMillis": round(TARGET_SECONDS * 1000),
    "scaleDownDelaySeconds": 10,
    "idleSeconds": IDLE_SECONDS,
}
LITTLE = {"requests": {"cpu": "50m", "memory": "128Mi"}}
BEFORE, STEP, BURST, AFTER = (1, 20), (10, 100), (14, 30), (3, 30)
"""Questions per second, and for how many seconds."""
STEP_END = BEFORE[1] + STEP[1]
SETTLED_SECONDS = 20
"""The last so many seconds of the step must keep the target."""
PROMISED = 17.0
"""Seconds from the death of the Lease's holder to the next decision."""


def manifests(**sport: str) -> str:
    """The example with the story's model; `sport` replaces fields of that sub-model's autoscaling."""
    known = documents(EXAMPLE)
    known["news"]["spec"]["router"]["resources"] = LITTLE
    for name in SUB_MODELS:
        known[name]["spec"] |= {
            "model": {"storageUri": f"pvc://models/{NAME}"},
            "engine": ENGINE,
            "autoscaling": {**SCALING, **(sport if name == "sport" else {})},
            "podTemplate": {"resources": LITTLE},
        }
    return "\n---\n".join(json.dumps(one) for one in known.values())


def apply(kubectl: Kubectl, **sport: str) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=manifests(**sport))


def replicas(kubectl: Kubectl, name: str) -> int:
    asked: int = kubectl.get("submodel", name)["spec"]["replicas"]
    return asked


def asleep(kubectl: Kubectl, name: str) -> Manifest:
    """The sub-model, once it runs nobody and is Ready all the same. Raises AssertionError until then."""
    thing = must_be(kubectl, "submodel", name, "Ready")
    assert (thing["spec"]["replicas"], condition(thing, "Ready")["reason"]) == (0, "ScaledToZero")
    assert pods_of(kubectl, name) == []
    return thing


def all_asleep(kubectl: Kubectl, seconds: float) -> float:
    """Wait until nobody runs; seconds that it took."""
    start = time.monotonic()
    for name in SUB_MODELS:
        eventually(lambda name=name: asleep(kubectl, name), seconds, f"{name} sleeps")  # type: ignore[misc]
    return time.monotonic() - start


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, WAIT_SECONDS)
    load_models(namespace, folder, (NAME,))
    apply(namespace)
    for name in SUB_MODELS:
        eventually(lambda name=name: proved(namespace, name), 300, f"{name} answered once")  # type: ignore[misc]
    return namespace


def proved(kubectl: Kubectl, name: str) -> bool:
    return bool(kubectl.get("submodel", name)["status"]["provedRevision"])


@pytest.fixture(scope="module")
def whole_story(pool: Kubectl) -> Iterator[Audit]:
    """The audit log from before the first sleep."""
    with Audit() as audit:
        yield audit


def test_whom_nobody_asks_goes_to_sleep(pool: Kubectl, whole_story: Audit) -> None:
    seconds = all_asleep(pool, 120)
    print(f"asleep {seconds:.1f} s after the last of them answered for the first time")
    must_be(pool, "modelpool", "news", "Ready")
    for name in SUB_MODELS:
        said = pool.get("submodel", name)["status"]["scaling"]
        print(f"{name}: {json.dumps(said)}")
        assert said["desiredReplicas"] == 0


def test_git_has_no_say_in_the_number_of_replicas(pool: Kubectl) -> None:
    different = pool.attempt("diff", "--server-side", "-f", "-", stdin=manifests())
    assert (different.returncode, different.stdout) == (0, ""), different.stderr
    apply(pool)
    assert [replicas(pool, name) for name in SUB_MODELS] == [0, 0]


def test_at_rest_nothing_is_written_but_the_lease(installed: Kubectl, pool: Kubectl) -> None:
    time.sleep(5)  # what the apply before brought about is told by then
    with Audit() as audit:
        time.sleep(60)
        writes = audit.all_writes(pool.namespace)
    ours = [one for one in writes if one.user in (routers_user(pool, "news"), operator_user(installed))]
    renewals = [one for one in ours if one.told.split()[1] == "leases"]
    print(
        f"a minute at rest: {len(renewals)} renewals of the Lease, {len(ours) - len(renewals)} other writes"
    )
    assert renewals, "nobody renewed the Lease: this test would see no write at all"
    assert [one.told for one in ours if one not in renewals] == []


def test_the_first_question_wakes_whom_it_is_for_and_is_answered(pool: Kubectl) -> None:
    start = time.monotonic()
    with forwarded(pool, "service/news", 80) as url:
        answer = answered(url, SCIENCE, 90)
    print(f"through a sleeper: {time.monotonic() - start:.1f} s, {answer.headers}")
    assert (answer.status, answer.body["label"]) == (200, "left"), answer
    assert answer.headers["x-fastserve-woken"] == "science"
    assert replicas(pool, "science") >= 1
    assert replicas(pool, "sport") == 0

    def told() -> list[str]:
        events = pool.list_of("events")
        return [one["message"] for one in events if one["reason"] == "ScaledUp" and _is_about(one, "science")]

    print(eventually(lambda: told() or None, 10, "an Event tells of it"))


def _is_about(event: Manifest, name: str) -> bool:
    return bool(event["involvedObject"]["kind"] == "SubModel" and event["involvedObject"]["name"] == name)


def test_replicas_follow_load_and_nothing_is_lost(pool: Kubectl) -> None:
    phases = ",".join(f"{rate}:{seconds}" for rate, seconds in (BEFORE, STEP, BURST, AFTER))
    with timeline(pool, "science") as course:
        with surge(pool, "http://news", SCIENCE, phases) as load:
            load.over(400)
            lines, lost = load.seconds(), load.lost()
        seconds = all_asleep(pool, 120)
    moments = course.moments(lines)
    settled = _settled_wait(course, lines[0]["at"])
    print(f"asleep {seconds:.1f} s after the last answer")
    print(f"at most {_most(course)} replicas, {_turns(course)} turns from more to fewer or back")
    print(f"95 of 100 waited at most {settled} s in the last {SETTLED_SECONDS} s of the step")
    _keep(moments, "step, burst and silence: one answers four questions a second")
    assert lost == []
    assert sum(one["asked"] for one in lines) == sum(one["answered"] for one in lines)
    assert _most(course) >= 3
    assert settled is not None
    assert settled <= TARGET_SECONDS
    assert _turns(course) <= 3


def _settled_wait(course: Timeline, begin: float) -> float | None:
    return course.queue_p95(begin + STEP_END - SETTLED_SECONDS, begin + STEP_END)


def _most(course: Timeline) -> int:
    return max(look.replicas for look in course.looks)


def _turns(course: Timeline) -> int:
    """How often more became fewer, or fewer more."""
    steps = [_step(before, after) for before, after in pairwise(course.looks)]
    return sum(one != other for one, other in pairwise(filter(None, steps)))


def _step(before: Look, after: Look) -> int:
    return (after.replicas > before.replicas) - (after.replicas < before.replicas)


def _keep(moments: list[Moment], title: str) -> None:
    """Write the course where somebody wants it."""
    place = os.environ.get("TIMELINE", "")
    if place:
        about = {"waitSeconds": WAIT_SECONDS, "scaling": SCALING, "phases": [BEFORE, STEP, BURST, AFTER]}
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling-cluster.json").write_text(as_json(moments, about))
        (folder / "scaling-cluster.svg").write_text(picture(moments, title, TARGET_SECONDS))


def test_a_holder_that_is_killed_is_followed(pool: Kubectl) -> None:
    with surge(pool, "http://news", SCIENCE, "2:20,8:60") as load:
        eventually(lambda: len(load.seconds()) > 20 or None, 60, "the load has risen")
        killed = decides(pool, "news")
        name = killed["metadata"]["name"]
        kill(processes_of(killed, "fastserve.router"))
        start = time.monotonic()
        pool("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        follower = eventually(lambda: _another(pool, name), 60, "another router decides")
        seconds = time.monotonic() - start
        print(f"kill -9 of {name}: {follower['metadata']['name']} decides after {seconds:.1f} s")
        eventually(lambda: replicas(pool, "science") >= 2 or None, 60, "and it acts")
        load.over(300)
        assert load.lost() == []
    assert seconds <= PROMISED


def _another(pool: Kubectl, name: str) -> Manifest:
    found = decides(pool, "news")
    assert found["metadata"]["name"] != name, "the Lease still names the one that is gone"
    return found


def test_in_external_mode_somebody_else_scales(pool: Kubectl) -> None:
    all_asleep(pool, 180)
    before = holders_table(pool, "news")
    apply(pool, mode="External")
    # Until then it scales, as it was told.
    eventually(
        lambda: holders_table(pool, "news") != before, 90, "the holder knows that somebody else scales"
    )
    eventually(lambda: desired(pool, "news", "sport") == 0 or None, 30, "the metric says that nobody asks")
    answers: list[Answered] = []
    with Audit() as audit, forwarded(pool, "service/news", 80) as url:
        asking = threading.Thread(target=lambda: answers.append(answered(url, SPORT, 90)))
        asking.start()
        eventually(lambda: desired(pool, "news", "sport") >= 1 or None, 20, "the metric says one")
        throughout(lambda: _runs(pool, "sport", 0), 8)
        scaled = [one for one in audit.all_writes(pool.namespace) if is_scale(one)]
        assert scaled == []
        pool("scale", "submodel", "sport", "--replicas=2")
        asking.join()
    (answer,) = answers
    assert (answer.status, answer.headers["x-fastserve-woken"]) == (200, "sport"), answer
    eventually(lambda: len(pods_of(pool, "sport")) == 2 or None, 60, "two pods, as was said")


def _runs(pool: Kubectl, name: str, number: int) -> None:
    assert replicas(pool, name) == number


def test_the_api_server_takes_the_examples_autoscaler(pool: Kubectl) -> None:
    file = EXAMPLES / EXAMPLE / "external" / "hpa.yaml"
    assert "created" in pool("apply", "--dry-run=server", "-f", str(file))


def test_only_the_holder_scaled_and_nothing_twice(pool: Kubectl, whole_story: Audit) -> None:
    writes = whole_story.all_writes(pool.namespace)
    routers = routers_user(pool, "news")
    scales = [one for one in writes if is_scale(one) and one.user == routers]
    for one in scales:
        print(f"   {one.at} {one.pod} {one.told} -> {one.replicas}: {one.code}")
    assert len(scales) >= 6
    assert wrong_scales(writes, routers, "news") == []
    assert holder(pool, "news")
