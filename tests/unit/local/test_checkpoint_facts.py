"""What is read of a checkpoint folder before anything starts."""

import json
from pathlib import Path

import pytest

from fastserve.errors import CheckpointError
from fastserve.local.checkpoints import read_facts

CONFIG = {"model_type": "bert", "num_attention_heads": 2}


def checkpoint(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"12345678")
    return folder


def test_facts_are_config_digest_and_weight_bytes(tmp_path: Path) -> None:
    facts = read_facts(checkpoint(tmp_path).as_uri())
    assert (dict(facts.config), facts.weight_bytes, len(facts.digest)) == (CONFIG, 8, 64)


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    before = read_facts(checkpoint(tmp_path).as_uri()).digest
    (tmp_path / "model.safetensors").write_bytes(b"12345679")
    assert read_facts(tmp_path.as_uri()).digest != before


def test_an_artefact_tells_its_own_digest(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "fastserve.json").write_text('{"digest": "abc"}')
    assert read_facts(tmp_path.as_uri()).digest == "abc"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"\*.safetensors missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "holds no block of fields"),
        (
            lambda folder: (folder / "model.safetensors").unlink() or (folder / "model.safetensors").mkdir(),
            "model.safetensors cannot be read: Is a directory",
        ),
        (lambda folder: (folder / "fastserve.json").write_text("[]"), "does not tell a digest"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, break_it: object, words: str) -> None:
    checkpoint(tmp_path)
    assert callable(break_it)
    break_it(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        read_facts(tmp_path.as_uri())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder at"):
        read_facts((tmp_path / "nowhere").as_uri())
