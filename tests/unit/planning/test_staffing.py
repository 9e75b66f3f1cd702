"""What the route table says of a scaled sub-model's replicas."""

import pytest

from fastserve.api.scaling import Autoscaling, ScalingMode, Staff, WarmWindow
from fastserve.planning.staffing import staff_of, within
from make import sub_model

SCALING = {
    "mode": "External",
    "minReplicas": 1,
    "maxReplicas": 4,
    "targetQueueMillis": 50,
    "scaleDownDelaySeconds": 90,
    "idleSeconds": 120,
    "warmWindows": [{"start": "08:00", "end": "18:00"}],
}


def test_a_sub_model_without_autoscaling_has_no_staff() -> None:
    assert staff_of(sub_model(replicas=3), 3) is None


def test_the_staff_says_what_the_user_said_and_what_is_to_run() -> None:
    staff = staff_of(sub_model(autoscaling=SCALING), 3, unplaced=2)
    assert staff == Staff(
        mode=ScalingMode.EXTERNAL,
        least=1,
        most=4,
        target_queue_millis=50,
        scale_down_delay_seconds=90,
        idle_seconds=120,
        warm_windows=(WarmWindow(start="08:00", end="18:00"),),
        replicas=3,
        asked=3,
        unplaced=2,
    )


@pytest.mark.parametrize(("asked", "runs"), [(0, 1), (1, 1), (3, 3), (4, 4), (9, 4)])
def test_what_is_to_run_stays_within_the_bounds(asked: int, runs: int) -> None:
    staff = staff_of(sub_model(autoscaling=SCALING), asked)
    assert staff is not None
    assert staff.replicas == runs
    assert within(Autoscaling(min_replicas=1, max_replicas=4), asked) == runs


@pytest.mark.parametrize(("gpu", "gpus"), [({}, 2), (None, 0)])
def test_a_replica_takes_a_gpu_for_each_rank_where_it_runs_on_gpus(
    gpu: dict[str, str] | None, gpus: int
) -> None:
    staff = staff_of(sub_model(tensor=2, gpu=gpu, autoscaling={"maxReplicas": 2}), 1)
    assert staff is not None
    assert staff.gpus == gpus
