"""How each family is cut into tensor-parallel ranks, as data, and the function that applies it.

The cut is Megatron-LM's (Shoeybi et al., arXiv:1909.08053, section 3). Query, key, value and the MLP's
first matrix are cut by outputs (COLUMNS), so that each rank holds whole heads; the attention's output and
the MLP's second matrix are cut by inputs (ROWS), and their partial products are summed once. Tables of
embeddings are cut by rows (TABLE): a rank looks up what it holds, zero elsewhere, and one sum before the
first LayerNorm (SUMMED) completes words, positions and token types together. The classification head is
cut as the MLP is. That is 2 sums a layer, 1 for the embeddings, 1 for the head. LayerNorms and the biases
of ROWS stay whole on every rank: they are O(hidden) numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from torch import nn

from fastserve.engine.sharding import Group, RowLinear, Span, TableShard, column_linear, span_of, sum_input


class Cut(StrEnum):
    """What a rank holds of one module."""

    COLUMNS = auto()
    ROWS = auto()
    TABLE = auto()
    SUMMED = auto()


@dataclass(frozen=True)
class FamilyPlan:
    """One family: transformers' class names, the prefix of the encoder inside the classifier, and the cuts
    of the encoder (names relative to it) and of the classification head (full names). ``*`` stands for a
    layer's number."""

    classifier: str
    encoder: str
    prefix: str
    body: Mapping[str, Cut]
    head: Mapping[str, Cut]
    has_pooler: bool


_EMBEDDINGS = {
    "embeddings.word_embeddings": Cut.TABLE,
    "embeddings.position_embeddings": Cut.TABLE,
    "embeddings.LayerNorm": Cut.SUMMED,
}
_BERT_BODY = {
    **_EMBEDDINGS,
    "embeddings.token_type_embeddings": Cut.TABLE,
    "encoder.layer.*.attention.self.query": Cut.COLUMNS,
    "encoder.layer.*.attention.self.key": Cut.COLUMNS,
    "encoder.layer.*.attention.self.value": Cut.COLUMNS,
    "encoder.layer.*.attention.output.dense": Cut.ROWS,
    "encoder.layer.*.intermediate.dense": Cut.COLUMNS,
    "encoder.layer.*.output.dense": Cut.ROWS,
}
_DISTILBERT_BODY = {
    **_EMBEDDINGS,
    "transformer.layer.*.attention.q_lin": Cut.COLUMNS,
    "transformer.layer.*.attention.k_lin": Cut.COLUMNS,
    "transformer.layer.*.attention.v_lin": Cut.COLUMNS,
    "transformer.layer.*.attention.out_lin": Cut.ROWS,
    "transformer.layer.*.ffn.lin1": Cut.COLUMNS,
    "transformer.layer.*.ffn.lin2": Cut.ROWS,
}

PLANS: Mapping[str, FamilyPlan] = {
    "bert": FamilyPlan(
        classifier="BertForSequenceClassification",
        encoder="BertModel",
        prefix="bert",
        body=_BERT_BODY,
        head={"bert.pooler.dense": Cut.COLUMNS, "classifier": Cut.ROWS},
        has_pooler=True,
    ),
    "roberta": FamilyPlan(
        classifier="RobertaForSequenceClassification",
        encoder="RobertaModel",
        prefix="roberta",
        body=_BERT_BODY,
        head={"classifier.dense": Cut.COLUMNS, "classifier.out_proj": Cut.ROWS},
        has_pooler=True,
    ),
    "distilbert": FamilyPlan(
        classifier="DistilBertForSequenceClassification",
        encoder="DistilBertModel",
        prefix="distilbert",
        body=_DISTILBERT_BODY,
        head={"pre_classifier": Cut.COLUMNS, "classifier": Cut.ROWS},
        has_pooler=False,
    ),
}
"""By the ``model_type`` of config.json; the same families as `fastserve.api.families.FAMILY_SHAPES`."""


def classifier_cuts(plan: FamilyPlan) -> dict[str, Cut]:
    """Cuts of the classifier, by full module name."""
    return {**{f"{plan.prefix}.{name}": cut for name, cut in plan.body.items()}, **plan.head}


def cut_model(model: nn.Module, cuts: Mapping[str, Cut], group: Group) -> dict[str, Span]:
    """Replace the modules that `cuts` names by this rank's part, and say which part that is.

    The model is on the meta device and stays there. Returns the span of every parameter that is not held
    whole, by the parameter's name, which does not change. The degree must divide the model
    (`fastserve.api.families.check_degree`). Raises LookupError where a name of `cuts` fits no module.
    """
    spans: dict[str, Span] = {}
    for pattern, cut in cuts.items():
        # A list first: the loop replaces modules of the tree that it walks.
        matching = [item for item in model.named_modules() if _fits(item[0], pattern)]
        if not matching:
            raise LookupError(f"no module is called {pattern}")
        for name, module in matching:
            part, held = _cut_module(module, cut, group)
            _replace(model, name, part)
            spans.update({f"{name}.{parameter}": span for parameter, span in held.items()})
    return spans


def _fits(name: str, pattern: str) -> bool:
    """Whether a module's name is `pattern` with a number for every ``*``. Part by part, because a ``*``
    that also matched dots would take attention.output.dense for output.dense."""
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(
        part == want or (want == "*" and part.isdecimal()) for part, want in zip(parts, wanted, strict=True)
    )


def _cut_module(module: nn.Module, cut: Cut, group: Group) -> tuple[nn.Module, dict[str, Span]]:
    match cut, module:
        case Cut.COLUMNS, nn.Linear():
            rows = span_of(module.out_features, 0, group)
            return column_linear(module, group), {"weight": rows, "bias": rows}
        case Cut.ROWS, nn.Linear():
            row = RowLinear(module, group)
            return row, {"weight": row.columns}
        case Cut.TABLE, nn.Embedding():
            table = TableShard(module, group)
            return table, {"weight": table.rows}
        case Cut.SUMMED, _:
            sum_input(module, group)
            return module, {}
    raise LookupError(f"{type(module).__name__} cannot be cut into {cut}")


def _replace(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, part)
