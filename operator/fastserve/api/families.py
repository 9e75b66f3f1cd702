"""Which tensor-parallel degrees a checkpoint allows, from its config.json alone. Standard library only:
planning refuses a bad degree before anything starts, and the engine refuses it again at load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastserve.errors import InvalidSpec


@dataclass(frozen=True)
class FamilyShape:
    """Names of the config keys that a degree must divide."""

    heads: str
    hidden: str
    intermediate: str


FAMILY_SHAPES: dict[str, FamilyShape] = {
    "bert": FamilyShape("num_attention_heads", "hidden_size", "intermediate_size"),
    "roberta": FamilyShape("num_attention_heads", "hidden_size", "intermediate_size"),
    "distilbert": FamilyShape("n_heads", "dim", "hidden_dim"),
}
"""By the ``model_type`` of config.json."""


def shape_of(config: Mapping[str, Any]) -> FamilyShape:
    """The family's shape; raises InvalidSpec where the family is not one that can be served."""
    family = config.get("model_type")
    if family not in FAMILY_SHAPES:
        raise InvalidSpec(
            "spec.model.storageUri", f"model_type {family!r} is not supported", ", ".join(FAMILY_SHAPES)
        )
    return FAMILY_SHAPES[family]


def allowed_degrees(config: Mapping[str, Any], at_most: int = 64) -> tuple[int, ...]:
    """Degrees that divide the heads, the hidden size and the MLP's size."""
    shape = shape_of(config)
    sizes = [int(config[key]) for key in (shape.heads, shape.hidden, shape.intermediate)]
    return tuple(n for n in range(1, min(at_most, *sizes) + 1) if all(size % n == 0 for size in sizes))


def check_degree(config: Mapping[str, Any], degree: int) -> None:
    """Raise InvalidSpec, with the allowed degrees named, where `degree` does not divide the model."""
    allowed = allowed_degrees(config)
    if degree not in allowed:
        shape = shape_of(config)
        facts = ", ".join(f"{key}={config[key]}" for key in (shape.heads, shape.hidden, shape.intermediate))
        raise InvalidSpec(
            "spec.parallelism.tensor",
            f"{degree} ranks do not divide this checkpoint ({facts})",
            ", ".join(map(str, allowed)),
        )
