"""Hugging Face folders: the base that a training starts from, and the classifier that it writes."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import transformers
from tokenizers import Tokenizer
from torch import nn

from fastserve.api.families import FAMILY_SHAPES
from fastserve.errors import InvalidSpec
from fastserve.lifecycle.artefact import TOKENIZER_FILES


def check_base(base: Path, field: str = "base") -> dict[str, Any]:
    """The folder's config.json; raises InvalidSpec, naming the option `field`, where it is no checkpoint
    of a family that we know."""
    try:
        config = cast("dict[str, Any]", json.loads((base / "config.json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise InvalidSpec(field, f"{base} has no readable config.json: {error}") from error
    if config.get("model_type") not in FAMILY_SHAPES:
        raise InvalidSpec(field, f"unknown model_type {config.get('model_type')!r}", ", ".join(FAMILY_SHAPES))
    for pattern in ("*.safetensors", "tokenizer.json"):
        if not any(base.glob(pattern)):
            raise InvalidSpec(field, f"{base} has no {pattern}")
    return config


def quiet_transformers() -> None:
    """No progress bars, no report of a head that is new on purpose: stdout and stderr are ours."""
    logging = cast("Any", transformers.utils.logging)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_classifier(base: Path, labels: Sequence[str]) -> nn.Module:
    """The base's body with a new head for `labels`; the head is drawn from torch's generator."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base,
        local_files_only=True,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        problem_type="single_label_classification",
        ignore_mismatched_sizes=True,
    )
    return cast("nn.Module", model.float())


def tokenise(base: Path, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each text, cut at `max_tokens`, not padded."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def token_limit(config: dict[str, Any], asked: int) -> int:
    """`asked`; raises InvalidSpec where the base has fewer positions."""
    positions = int(config.get("max_position_embeddings", asked))
    if config["model_type"] == "roberta":  # it counts positions from its pad id + 1
        positions -= int(config["pad_token_id"]) + 1
    if asked > positions:
        raise InvalidSpec("max-tokens", f"{asked} tokens", f"2 to {positions}")
    return asked


def save_classifier(model: nn.Module, base: Path, folder: Path) -> None:
    """config.json and model.safetensors of the model, and the base's tokenizer files as they are."""
    classifier = cast("Any", model)
    # The base's path is of this machine and would enter the digest.
    classifier.config._name_or_path = ""
    classifier.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # safetensors writes for the owner alone; a server may be another user
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
