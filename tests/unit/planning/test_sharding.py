import pytest

from fastserve.errors import DeviceMissing, InvalidSpec
from fastserve.planning.sharding import ShardLayout, shard_layout
from make import checkpoint, sub_model


def test_without_gpus_every_rank_is_on_the_cpu() -> None:
    assert shard_layout("a", sub_model(tensor=3).spec, checkpoint(), ("0",)) == ShardLayout(("cpu",) * 3)


def test_a_rank_counts_the_gpus_that_its_instance_was_allotted() -> None:
    layout = shard_layout("a", sub_model(tensor=2, gpu={}).spec, checkpoint(), ("GPU-x", "GPU-y", "GPU-z"))
    assert layout == ShardLayout(("cuda:0", "cuda:1"), ("GPU-x", "GPU-y"))


def test_a_degree_that_does_not_divide_names_those_that_do() -> None:
    with pytest.raises(InvalidSpec) as caught:
        shard_layout("a", sub_model(tensor=5).spec, checkpoint(), ())
    assert (caught.value.field, caught.value.allowed) == ("spec.parallelism.tensor", "1, 2, 3, 4, 6, 12")


def test_a_family_that_cannot_be_cut_names_those_that_can() -> None:
    with pytest.raises(InvalidSpec, match=r"'llama' is not supported .allowed: bert, roberta, distilbert"):
        shard_layout("a", sub_model().spec, checkpoint(model_type="llama"), ())


@pytest.mark.parametrize("size", [None, "wide", []])
def test_a_config_without_sizes_is_the_checkpoints_fault(size: object) -> None:
    with pytest.raises(InvalidSpec) as caught:
        shard_layout("a", sub_model().spec, checkpoint(hidden_size=size), ())
    assert caught.value.field == "spec.model.storageUri"


def test_a_config_that_lacks_a_size_is_the_checkpoints_fault() -> None:
    facts = checkpoint()
    config = {key: value for key, value in facts.config.items() if key != "num_attention_heads"}
    with pytest.raises(InvalidSpec, match="num_attention_heads"):
        shard_layout("a", sub_model().spec, type(facts)(config, "", 0), ())


def test_too_few_gpus_are_missing_devices() -> None:
    with pytest.raises(DeviceMissing, match="a needs 2 GPUs for each replica, and 1 are free"):
        shard_layout("a", sub_model(tensor=2, gpu={}).spec, checkpoint(), ("GPU-x",))


def test_too_few_gpus_mean_the_cpu_for_all_ranks_where_that_is_allowed() -> None:
    spec = sub_model(tensor=2, gpu={}, engine={"allowCpu": True}).spec
    assert shard_layout("a", spec, checkpoint(), ("GPU-x",)) == ShardLayout(("cpu", "cpu"))


def test_a_part_of_a_gpu_serves_one_rank() -> None:
    spec = sub_model(gpu={"resourceName": "nvidia.com/mig-1g.10gb"}).spec
    assert shard_layout("a", spec, checkpoint(), ("MIG-1",)).gpus == ("MIG-1",)


def test_parts_of_a_gpu_are_refused_for_several_ranks_even_unvalidated() -> None:
    whole = sub_model(tensor=2, gpu={}).spec
    assert whole.gpu is not None
    shared = whole.gpu.model_copy(update={"resource_name": "nvidia.com/gpu.shared"})
    with pytest.raises(InvalidSpec, match="parts of one GPU"):
        shard_layout("a", whole.model_copy(update={"gpu": shared}), checkpoint(), ("0", "1"))
