"""How many replicas of a scaled sub-model are to run, and what routers must know to decide on others."""

from fastserve.api.scaling import Autoscaling, Staff
from fastserve.api.submodel import SubModel


def within(scaling: Autoscaling, replicas: int) -> int:
    """`replicas`, and no fewer than minReplicas nor more than maxReplicas."""
    return min(scaling.max_replicas, max(scaling.min_replicas, replicas))


def staff_of(sub_model: SubModel, replicas: int, unplaced: int = 0) -> Staff | None:
    """What the route table says of a sub-model for which `replicas` are asked, `unplaced` of which fit
    nowhere; None where it is not scaled."""
    spec = sub_model.spec
    scaling = spec.autoscaling
    if scaling is None:
        return None
    return Staff(
        mode=scaling.mode,
        least=scaling.min_replicas,
        most=scaling.max_replicas,
        target_queue_millis=scaling.target_queue_millis,
        scale_down_delay_seconds=scaling.scale_down_delay_seconds,
        idle_seconds=scaling.idle_seconds,
        warm_windows=scaling.warm_windows,
        replicas=within(scaling, replicas),
        asked=replicas,
        gpus=spec.parallelism.tensor if spec.gpu is not None else 0,
        unplaced=unplaced,
    )
