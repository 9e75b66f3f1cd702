"""Builders: a test names only what differs."""

from collections.abc import Mapping
from typing import Any

from fastserve.api.modelpool import ModelPool
from fastserve.api.submodel import SubModel
from fastserve.planning.facts import CheckpointFacts, EngineHome, Machine, Surroundings

GIB = 1 << 30

BERT_CONFIG: Mapping[str, Any] = {
    "model_type": "bert",
    "num_attention_heads": 12,
    "hidden_size": 384,
    "intermediate_size": 1536,
}


def pool(name: str = "news", generation: int = 1, **spec: Any) -> ModelPool:
    """``pool(selection={"topK": 1})``: fields of the spec as users write them."""
    return ModelPool.model_validate({"metadata": {"name": name, "generation": generation}, "spec": spec})


def sub_model(name: str = "world", pool: str = "news", tensor: int = 1, **spec: Any) -> SubModel:
    """``sub_model("sport", tensor=2, gpu={})``: fields of the spec as users write them."""
    defaults = {
        "poolRef": {"name": pool},
        "examples": [f"a text about {name}"],
        "model": {"storageUri": f"file:///models/{name}"},
        "parallelism": {"tensor": tensor},
    }
    return SubModel.model_validate({"metadata": {"name": name}, "spec": {**defaults, **spec}})


def checkpoint(digest: str = "c0ffee", weight_bytes: int = 90_000_000, **config: Any) -> CheckpointFacts:
    """A MiniLM-sized BERT: 12 heads, 384 wide."""
    return CheckpointFacts({**BERT_CONFIG, **config}, digest, weight_bytes)


def machine(cpus: int = 4, memory_bytes: int = 16 * GIB, gpus: tuple[str, ...] = ()) -> Machine:
    return Machine(cpus, memory_bytes, gpus)


def surroundings(*names: str, on: Machine | None = None, **checkpoints: Any) -> Surroundings:
    """`names` have a checkpoint like any other; `checkpoints` have the one given."""
    home = EngineHome("/opt/fastserve/engine/bin/python", ("/opt/fastserve/stub", "/opt/fastserve/code"))
    ordinary = {name: checkpoint() for name in names}
    return Surroundings({**ordinary, **checkpoints}, home, on or machine())
