import pytest

from fastserve.api.objects import Manifest
from fastserve.planning.objects.rollout import Course, Step, available, kept_revisions, next_step, number_of


def live(available_replicas: int, replicas: int = 1, seen: int = 1) -> Manifest:
    return {
        "metadata": {"generation": 1},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": seen, "availableReplicas": available_replicas},
    }


def lost() -> Manifest:
    """All of its pods answered once, and none does now."""
    gone = live(0)
    gone["status"]["conditions"] = [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]
    return gone


CPU, GPU = Course("new", 1, surge=True), Course("new", 1, surge=False)
GPU_HELD = Course("new", 1, surge=False, lingering=True)


@pytest.mark.parametrize(
    ("course", "there", "step"),
    [
        (CPU, {}, Step(make=True)),
        (CPU, {"old": live(1)}, Step(make=True, stay=("old",))),
        (CPU, {"old": live(1), "new": live(0)}, Step(make=True, stay=("old",))),
        (CPU, {"old": live(1), "new": live(1)}, Step(make=True, leave=("old",))),
        (CPU, {"b": live(1), "a": live(1), "new": live(0)}, Step(make=True, stay=("a", "b"))),
        (CPU, {"broken": live(0)}, Step(make=True, leave=("broken",))),
        (CPU, {"old": lost(), "new": live(0)}, Step(make=True, stay=("old",))),
        (
            CPU,
            {"old": live(1), "broken": live(0), "worse": live(0), "new": live(0)},
            Step(make=True, leave=("broken", "worse"), stay=("old",)),
        ),
        (Course("new", 2, surge=True), {"old": live(2), "new": live(1, 2)}, Step(make=True, stay=("old",))),
        (Course("new", 2, surge=True), {"old": live(2), "new": live(1)}, Step(make=True, stay=("old",))),
        (Course("new", 0, surge=True), {"old": live(1)}, Step(make=True, leave=("old",))),
        (GPU, {}, Step(make=True)),
        (GPU, {"old": live(1)}, Step(make=False, leave=("old",))),
        (GPU, {"old": live(1), "new": live(0)}, Step(make=True, leave=("old",))),
        (GPU, {"new": live(0)}, Step(make=True)),
        (GPU_HELD, {}, Step(make=False)),
        (GPU_HELD, {"new": live(0)}, Step(make=True)),
        (Course("new", 1, surge=True, lingering=True), {}, Step(make=True)),
    ],
)
def test_each_step_follows_from_what_is_there(course: Course, there: dict[str, Manifest], step: Step) -> None:
    assert next_step(course, there) == step


@pytest.mark.parametrize(
    ("deployment", "answers"),
    [
        (live(1), True),
        (live(0), False),
        (live(1, seen=0), False),
        ({**live(1), "metadata": {"generation": 1, "deletionTimestamp": "now"}}, False),
        ({"metadata": {}, "spec": {}}, False),
    ],
)
def test_available_is_only_what_its_controller_said_of_the_newest_spec(
    deployment: Manifest, answers: bool
) -> None:
    assert available(deployment, 1) is answers


def test_a_revision_that_comes_back_has_the_highest_number_again() -> None:
    assert number_of("new", {}) == 1
    assert number_of("b", {"a": 1, "b": 2}) == 2
    assert number_of("a", {"a": 1, "b": 2}) == 3
    assert number_of("a", {"a": 3, "b": 2}) == 3


def test_the_current_revision_is_kept_and_the_one_before_it() -> None:
    assert kept_revisions("c", {"a": 1, "b": 2, "c": 3}) == {"b", "c"}
    assert kept_revisions("a", {"a": 1, "b": 2, "c": 3}) == {"a", "c"}
    assert kept_revisions("new", {}) == {"new"}
