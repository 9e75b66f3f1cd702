"""What should be, for one pool.

    members    = sub-models that name the pool, by name
    layouts    = for each member, for each replica: the devices of its ranks, GPUs taken in this order
    rejected   = members without layouts, each with its reason; their neighbours go on
    threads    = max(1, CPUs // ranks of all instances)
    table      = route table of the accepted members

A member is served with all its replicas or not at all. One that is scaled has no layouts here: its replicas
come and go later, and take what is left of the machine; so many as it may have count among the ranks, since
the pace of a replica must not depend on how many there are. Only faults of the pool's own spec are raised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fastserve.api.modelpool import ModelPool
from fastserve.api.routes import Member, RouteTable
from fastserve.api.submodel import SubModel
from fastserve.errors import CheckpointError, DeviceMissing, FastServeError, InvalidSpec
from fastserve.planning.facts import CheckpointFacts, Machine, Surroundings
from fastserve.planning.memory import ROUTER_BYTES, instance_bytes, shortfall
from fastserve.planning.routes import Accepted, EngineSetting, check_size, member_of, route_table
from fastserve.planning.sharding import ShardLayout, shard_layout
from fastserve.planning.staffing import staff_of


@dataclass(frozen=True)
class Instance:
    """One Triton of a sub-model, replicas counted from 0. `estimated_bytes` is host memory."""

    sub_model: str
    replica: int
    layout: ShardLayout
    estimated_bytes: int

    @property
    def name(self) -> str:
        return f"{self.sub_model}-{self.replica}"


@dataclass(frozen=True)
class Rejection:
    """Why a sub-model is not served. `field` is the path in its spec that would have to change."""

    reason: str
    field: str
    message: str


@dataclass(frozen=True)
class PoolPlan:
    """Everything that should be. `because` says it in one sentence; `memory_shortfall` is a sentence where
    the machine has too little memory, empty where it fits."""

    table: RouteTable
    instances: tuple[Instance, ...]
    rejected: Mapping[str, Rejection]
    because: str
    memory_shortfall: str = ""


@dataclass(frozen=True)
class _Decision:
    """Members so far, and the GPUs that are left for the next."""

    gpus: tuple[str, ...]
    accepted: tuple[Accepted, ...] = ()
    instances: tuple[Instance, ...] = ()
    rejected: tuple[tuple[str, Rejection], ...] = ()


def plan(pool: ModelPool, sub_models: Sequence[SubModel], surroundings: Surroundings) -> PoolPlan:
    """The plan for `pool`; sub-models of other pools are left aside, and their order does not matter.

    Raises InvalidSpec for what is wrong with the pool itself.
    """
    members = sorted(
        (s for s in sub_models if s.spec.pool_ref.name == pool.metadata.name), key=lambda s: s.metadata.name
    )
    _check_fallback(pool, members)
    decision = _Decision(surroundings.machine.gpus)
    for member in members:
        decision = _with_member(decision, member, surroundings)
    ranks = _ranks(decision)
    threads = max(1, surroundings.machine.cpus // max(1, ranks))
    setting = EngineSetting(surroundings.home, threads)
    table = route_table(pool, [_member(one, pool, setting) for one in decision.accepted])
    check_size(table)
    return PoolPlan(
        table=table,
        instances=decision.instances,
        rejected=dict(decision.rejected),
        because=_sentence(decision, ranks, threads),
        memory_shortfall=shortfall(
            (instance.estimated_bytes for instance in decision.instances), surroundings.machine.memory_bytes
        ),
    )


def _member(one: Accepted, pool: ModelPool, setting: EngineSetting) -> Member:
    return member_of(one, pool.spec.task, setting, staff_of(one.sub_model, one.sub_model.spec.replicas))


def _ranks(decision: _Decision) -> int:
    specs = [one.sub_model.spec for one in decision.accepted]
    scaled = sum(s.autoscaling.max_replicas * s.parallelism.tensor for s in specs if s.autoscaling)
    return scaled + sum(instance.layout.ranks for instance in decision.instances)


def what_is_left(machine: Machine, made: PoolPlan) -> Machine:
    """`machine` without what `made` takes of it, for the plan of the next pool."""
    taken = {gpu for instance in made.instances for gpu in instance.layout.gpus}
    used = ROUTER_BYTES + sum(instance.estimated_bytes for instance in made.instances)
    return replace(
        machine,
        gpus=tuple(gpu for gpu in machine.gpus if gpu not in taken),
        memory_bytes=max(0, machine.memory_bytes - used),
    )


def _check_fallback(pool: ModelPool, members: Sequence[SubModel]) -> None:
    fallback = pool.spec.selection.fallback.sub_model
    names = [member.metadata.name for member in members]
    if fallback is not None and fallback not in names:
        raise InvalidSpec(
            "spec.selection.fallback.subModel", f"{fallback} is no sub-model of this pool", ", ".join(names)
        )


def _with_member(decision: _Decision, member: SubModel, surroundings: Surroundings) -> _Decision:
    name = member.metadata.name
    checkpoint, examples = surroundings.checkpoints[name], surroundings.example_digests.get(name, "")
    if isinstance(checkpoint, CheckpointError):
        return replace(decision, rejected=(*decision.rejected, (name, _rejection(checkpoint))))
    if isinstance(examples, InvalidSpec):
        return replace(decision, rejected=(*decision.rejected, (name, _rejection(examples))))
    try:
        instances = _instances(member, checkpoint, decision.gpus)
    except (InvalidSpec, DeviceMissing) as error:
        return replace(decision, rejected=(*decision.rejected, (name, _rejection(error))))
    taken = {gpu for instance in instances for gpu in instance.layout.gpus}
    one = Accepted(member, checkpoint, examples)
    return replace(
        decision,
        gpus=tuple(gpu for gpu in decision.gpus if gpu not in taken),
        accepted=(*decision.accepted, one),
        instances=(*decision.instances, *instances),
    )


def _instances(member: SubModel, checkpoint: CheckpointFacts, gpus: tuple[str, ...]) -> tuple[Instance, ...]:
    name, free, made = member.metadata.name, gpus, []
    # A member at zero is laid out too: what could not be served must not be accepted.
    shard_layout(name, member.spec.model_copy(update={"gpu": None}), checkpoint, ())
    if member.spec.autoscaling is not None:
        shard_layout(name, member.spec, checkpoint, free)  # one replica must have a place at least
        return ()
    for replica in range(member.spec.replicas):
        layout = shard_layout(name, member.spec, checkpoint, free)
        free = free[len(layout.gpus) :]
        made.append(Instance(name, replica, layout, instance_bytes(checkpoint, layout.ranks)))
    return tuple(made)


def _rejection(error: FastServeError) -> Rejection:
    match error:
        case InvalidSpec():
            field = error.field
        case DeviceMissing():
            field = "spec.gpu"
        case _:
            field = "spec.model.storageUri"
    return Rejection(error.reason, field, error.message)


def _sentence(decision: _Decision, ranks: int, threads: int) -> str:
    counts = f"{len(decision.accepted)} sub-models, {len(decision.instances)} instances, {ranks} ranks"
    refused = "".join(f"; {name} is rejected: {why.message}" for name, why in decision.rejected)
    return f"{counts}, CPU threads per rank: {threads}{refused}"
