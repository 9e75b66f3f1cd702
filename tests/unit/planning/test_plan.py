from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.submodel import SubModel
from fastserve.errors import CheckpointError, InvalidSpec
from fastserve.planning.memory import MIB, instance_bytes
from fastserve.planning.plan import plan, what_is_left
from make import GIB, checkpoint, machine, pool, sub_model, surroundings


def test_members_are_those_that_name_the_pool_in_order_of_their_names() -> None:
    made = plan(
        pool(), [sub_model("b"), sub_model("a"), sub_model("c", pool="other")], surroundings("a", "b")
    )
    assert [member.name for member in made.table.members] == ["a", "b"]


def test_every_replica_is_an_instance() -> None:
    made = plan(pool(), [sub_model("a", replicas=2), sub_model("b", replicas=0)], surroundings("a", "b"))
    assert [(i.sub_model, i.replica) for i in made.instances] == [("a", 0), ("a", 1)]
    assert [member.name for member in made.table.members] == ["a", "b"]


def test_replicas_of_a_scaled_sub_model_come_later_and_are_as_fast_however_many_there_are() -> None:
    scaled = sub_model("a", tensor=2, replicas=9, autoscaling={"maxReplicas": 3})
    made = plan(pool(), [scaled, sub_model("b")], surroundings("a", "b", on=machine(cpus=15)))
    assert [instance.name for instance in made.instances] == ["b-0"]
    members = {member.name: member for member in made.table.members}
    assert members["a"].staff is not None
    assert (members["a"].staff.replicas, members["b"].staff) == (3, None)
    assert members["a"].target.engine.threads_per_rank == 2  # 15 CPUs, 3 x 2 + 1 ranks


def test_a_scaled_sub_model_without_a_place_for_one_replica_is_rejected() -> None:
    scaled = sub_model("a", tensor=2, gpu={}, autoscaling={"minReplicas": 0, "maxReplicas": 3})
    made = plan(pool(), [scaled], surroundings("a", on=machine(gpus=("0",))))
    assert made.rejected["a"].reason == "DeviceMissing"
    made = plan(pool(), [scaled], surroundings("a", on=machine(gpus=("0", "1"))))
    assert made.rejected == {}


def test_a_bad_sub_model_is_rejected_and_its_neighbours_go_on() -> None:
    made = plan(
        pool(),
        [
            sub_model("broken"),
            sub_model("fine"),
            sub_model("odd", tensor=5),
            sub_model("none", tensor=7, replicas=0),
        ],
        surroundings("fine", "odd", "none", broken=CheckpointError("no folder there")),
    )
    assert [member.name for member in made.table.members] == ["fine"]
    assert {name: (why.reason, why.field) for name, why in made.rejected.items()} == {
        "broken": ("CheckpointInvalid", "spec.model.storageUri"),
        "odd": ("InvalidSpec", "spec.parallelism.tensor"),
        "none": ("InvalidSpec", "spec.parallelism.tensor"),
    }
    assert "broken is rejected: no folder there" in made.because


def test_gpus_go_to_instances_in_order_and_whoever_comes_too_late_is_rejected() -> None:
    members = [sub_model("a", tensor=2, gpu={}), sub_model("b", gpu={}, replicas=2), sub_model("c", gpu={})]
    made = plan(pool(), members, surroundings("a", "b", "c", on=machine(gpus=("0", "1", "2"))))
    assert [(i.sub_model, i.layout.gpus) for i in made.instances] == [("a", ("0", "1")), ("c", ("2",))]
    assert (made.rejected["b"].reason, made.rejected["b"].field) == ("DeviceMissing", "spec.gpu")


def test_an_instance_that_may_fall_back_to_the_cpu_still_asks_for_its_gpus() -> None:
    member = sub_model("a", tensor=2, gpu={}, engine={"allowCpu": True})
    made = plan(pool(), [member], surroundings("a"))
    engine = made.table.members[0].target.engine
    assert (engine.devices, engine.allow_cpu) == (("cuda:0", "cuda:1"), True)
    assert made.instances[0].layout.devices == ("cpu", "cpu")


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (6, 2), (16, 5)])
def test_the_processors_are_shared_by_all_ranks(cpus: int, threads: int) -> None:
    members = [sub_model("a", tensor=2), sub_model("b")]
    made = plan(pool(), members, surroundings("a", "b", on=machine(cpus=cpus)))
    assert {member.target.engine.threads_per_rank for member in made.table.members} == {threads}


def test_a_fallback_that_is_no_member_is_the_pools_fault() -> None:
    lost = pool(selection={"fallback": {"type": "SubModel", "subModel": "gone"}})
    with pytest.raises(InvalidSpec, match=r"spec.selection.fallback.subModel: gone .* \(allowed: a\)"):
        plan(lost, [sub_model("a")], surroundings("a"))


def test_a_table_that_no_config_map_holds_is_refused_with_the_way_out() -> None:
    texts = ["x" * 512] * 256
    members = [sub_model(f"m{i}", examples=texts) for i in range(8)]
    with pytest.raises(InvalidSpec, match="examplesFrom"):
        plan(pool(), members, surroundings(*(f"m{i}" for i in range(8))))


def test_an_instance_takes_weights_ranks_triton_and_router() -> None:
    made = plan(pool(), [sub_model("a", tensor=2)], surroundings("a"))
    assert made.instances[0].estimated_bytes == 90_000_000 + (2 * 450 + 150 + 250) * MIB


def test_half_precision_files_are_twice_as_large_in_memory() -> None:
    assert instance_bytes(checkpoint(dtype="bfloat16"), 1) - instance_bytes(checkpoint(), 1) == 90_000_000


def test_too_little_memory_is_stated_with_both_figures() -> None:
    small = plan(pool(), [sub_model("a")], surroundings("a", on=machine(memory_bytes=GIB)))
    assert small.memory_shortfall == "about 1.2 GiB of memory are needed, and 1.0 GiB are free"
    assert plan(pool(), [sub_model("a")], surroundings("a")).memory_shortfall == ""


def test_the_next_pool_gets_what_this_one_left() -> None:
    given_machine = machine(gpus=("0", "1"))
    made = plan(pool(), [sub_model("a", gpu={})], surroundings("a", on=given_machine))
    left = what_is_left(given_machine, made)
    assert left.gpus == ("1",)
    assert left.memory_bytes == 16 * GIB - made.instances[0].estimated_bytes - 250 * MIB


def test_the_version_is_the_users_name_for_the_weights_or_their_digest() -> None:
    named = sub_model("b", model={"storageUri": "file:///models/b", "version": "v7"})
    made = plan(pool(), [sub_model("a"), named], surroundings("a", "b"))
    assert [member.target.version for member in made.table.members] == ["c0ffee", "v7"]


def _digest(member: SubModel, **checkpoint_fields: str) -> str:
    made = plan(pool(), [member], surroundings(a=checkpoint(**checkpoint_fields)))
    return made.table.members[0].target.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {"storageUri": "file:///models/elsewhere"}},
        {"model": {"storageUri": "file:///models/a", "version": "2"}},
        {"engine": {"maxBatchSize": 8}},
        {"engine": {"maxTokens": 64}},
        {"tensor": 2},
    ],
)
def test_whatever_shapes_the_loaded_model_changes_its_digest(changed: dict[str, object]) -> None:
    assert _digest(sub_model("a", **changed)) != _digest(sub_model("a"))


def test_new_weights_in_the_same_folder_change_the_digest() -> None:
    assert _digest(sub_model("a"), digest="new") != _digest(sub_model("a"))


@pytest.mark.parametrize("changed", [{"description": "x"}, {"replicas": 3}, {"examples": ["other"]}])
def test_what_leaves_the_loaded_model_alone_leaves_its_digest_alone(changed: dict[str, object]) -> None:
    assert _digest(sub_model("a", **changed)) == _digest(sub_model("a"))


def test_a_neighbour_changes_no_digest() -> None:
    alone = plan(pool(), [sub_model("a")], surroundings("a"))
    crowd = [sub_model("a"), *(sub_model(f"n{i}") for i in range(5))]
    together = plan(pool(), crowd, surroundings("a", *(f"n{i}" for i in range(5))))
    assert together.table.members[0].target.digest == alone.table.members[0].target.digest


def test_the_meaning_changes_with_the_content_of_its_file() -> None:
    member = sub_model("a", examplesFrom={"storageUri": "file:///texts.jsonl"})
    facts = surroundings("a")
    digests = {
        plan(pool(), [member], replace(facts, example_digests={"a": content})).table.members[0].meaning.digest
        for content in ("one", "two")
    }
    assert len(digests) == 2


_members = st.lists(
    st.builds(
        lambda name, tensor, gpu, allow_cpu, replicas: sub_model(
            name,
            tensor=tensor,
            replicas=replicas,
            engine={"allowCpu": allow_cpu},
            **({"gpu": {}} if gpu else {}),
        ),
        name=st.sampled_from([f"m{i}" for i in range(6)]),
        tensor=st.integers(1, 5),
        gpu=st.booleans(),
        allow_cpu=st.booleans(),
        replicas=st.integers(0, 3),
    ),
    max_size=6,
    unique_by=lambda member: member.metadata.name,
)
_gpus = st.integers(0, 8).map(lambda count: tuple(f"GPU-{i}" for i in range(count)))
_everyone = tuple(f"m{i}" for i in range(6))


@given(_members, _gpus)
def test_a_plan_leaves_its_inputs_as_they_were(members: list[SubModel], gpus: tuple[str, ...]) -> None:
    facts = surroundings(*_everyone, on=machine(gpus=gpus))
    inputs = (pool(), members, facts)
    before = deepcopy(inputs)
    plan(*inputs)
    assert inputs == before


@given(_members.flatmap(lambda members: st.tuples(st.just(members), st.permutations(members))), _gpus)
def test_the_order_of_sub_models_changes_nothing(
    orders: tuple[list[SubModel], list[SubModel]], gpus: tuple[str, ...]
) -> None:
    facts = surroundings(*_everyone, on=machine(gpus=gpus))
    assert plan(pool(), orders[0], facts) == plan(pool(), orders[1], facts)


@given(_members, _gpus)
def test_every_rank_has_one_device_and_no_gpu_is_used_twice(
    members: list[SubModel], gpus: tuple[str, ...]
) -> None:
    made = plan(pool(), members, surroundings(*_everyone, on=machine(gpus=gpus)))
    ranks = {member.metadata.name: member.spec.parallelism.tensor for member in members}
    used = [gpu for instance in made.instances for gpu in instance.layout.gpus]
    assert len(used) == len(set(used))
    assert set(used) <= set(gpus)
    for instance in made.instances:
        devices, seen = instance.layout.devices, instance.layout.gpus
        assert len(devices) == ranks[instance.sub_model]
        assert devices == (tuple(f"cuda:{r}" for r in range(len(seen))) if seen else ("cpu",) * len(devices))


@given(_members, _gpus)
def test_a_member_is_served_whole_or_rejected(members: list[SubModel], gpus: tuple[str, ...]) -> None:
    made = plan(pool(), members, surroundings(*_everyone, on=machine(gpus=gpus)))
    accepted = {member.name for member in made.table.members}
    assert accepted.isdisjoint(made.rejected)
    assert accepted | set(made.rejected) == {member.metadata.name for member in members}
    for member in members:
        name = member.metadata.name
        count = sum(instance.sub_model == name for instance in made.instances)
        assert count == (member.spec.replicas if name in accepted else 0)
