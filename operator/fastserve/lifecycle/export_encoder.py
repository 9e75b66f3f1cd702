"""``python -m fastserve.lifecycle.export_encoder``: a sentence encoder as one self-contained ONNX file.

The graph does what sentence-transformers does for MiniLM: the mean of the last hidden states over the
attention mask, then L2 normalisation. Inputs ``input_ids`` and ``attention_mask``, int64 [n, t]; output
``embedding``, float32 [n, d]. Beside it lie ``tokenizer.json`` and ``encoder.json``.
"""

import contextlib
import io
import json
import logging
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn

from fastserve.errors import InvalidSpec
from fastserve.lifecycle.arguments import Arguments
from fastserve.lifecycle.artefact import check_replaceable, folder_digest, folder_made_whole
from fastserve.lifecycle.checkpoint import check_base, quiet_transformers
from fastserve.lifecycle.progress import Emit, run_and_report

RECORD = "encoder.json"
MODEL = "model.onnx"
OUTPUT = "embedding"
OPSET = 18


class MeanPooled(nn.Module):
    """A BERT body, its hidden states averaged over the mask, as unit vectors."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(input_ids),
        ).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


def load_encoder(weights: Path) -> MeanPooled:
    """The body at `weights`, ready to encode; raises InvalidSpec where it is not of the BERT family."""
    family = check_base(weights, "weights")["model_type"]
    if family != "bert":
        raise InvalidSpec("weights", f"an encoder of model_type {family!r} cannot be exported", "bert")
    # Attention written out: the fused kernel has no counterpart in ONNX.
    body = transformers.AutoModel.from_pretrained(weights, local_files_only=True, attn_implementation="eager")
    return MeanPooled(cast("nn.Module", body.float())).eval()


def write_onnx(encoder: MeanPooled, path: Path) -> None:
    """Trace the encoder into one file, with free batch size and length."""
    free = {0: torch.export.Dim("n"), 1: torch.export.Dim("t")}
    example = torch.ones(3, 7, dtype=torch.int64)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which we do not need
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's advice to its own developers
        program = torch.onnx.export(
            encoder,
            (example, example.clone()),
            input_names=["input_ids", "attention_mask"],
            dynamic_shapes=(free, dict(free)),
            opset_version=OPSET,
            dynamo=True,
        )
    graph = cast("Any", program).model.graph
    for node in graph:  # the word table's look-up has the name that the output is to have
        for value in node.outputs:
            value.name = f"body_{value.name}"
    graph.outputs[0].name = OUTPUT
    cast("Any", program).save(path, external_data=False)


def token_limit(weights: Path, config: Mapping[str, Any]) -> int:
    """Tokens that the encoder was made for: what sentence-transformers tells, else its positions."""
    try:
        told = json.loads((weights / "sentence_bert_config.json").read_text("utf-8"))
        return int(told["max_seq_length"])
    except (OSError, ValueError, KeyError):
        return int(config["max_position_embeddings"])


def export(weights: Path, output: Path) -> Mapping[str, object]:
    """Write the encoder's folder, whole or not at all; what ``encoder.json`` says. Raises InvalidSpec."""
    encoder = load_encoder(weights)
    config = check_base(weights)
    record = {
        "digest": folder_digest(weights),
        "dimension": int(config["hidden_size"]),
        "maxTokens": token_limit(weights, config),
    }
    with folder_made_whole(output) as folder:
        write_onnx(encoder, folder / MODEL)
        shutil.copyfile(weights / "tokenizer.json", folder / "tokenizer.json")
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return record


def main(words: Sequence[str]) -> int:
    """The exit code."""

    def program(_: Emit) -> Mapping[str, object]:
        arguments = Arguments("fastserve.lifecycle.export_encoder", "Export a sentence encoder to ONNX.")
        arguments.add_argument("--weights", type=Path, required=True, metavar="DIR")
        arguments.add_argument("--output", type=Path, required=True, metavar="DIR")
        given = arguments.read(words)
        check_replaceable(given.output, RECORD)
        quiet_transformers()
        return export(given.weights, given.output)

    return run_and_report(program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
