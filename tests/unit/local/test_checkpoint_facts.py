"""What is read of a checkpoint folder before anything starts."""

import json
from pathlib import Path

import pytest

from fastserve.errors import CheckpointError, CheckpointMissing
from fastserve.local.checkpoints import read_custom_facts, read_facts

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


def test_a_triton_model_folder_of_the_user_s_own_needs_no_config_json(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "config.pbtxt").write_text("backend")
    (tmp_path / "1" / "model.py").write_text("x")
    before = read_custom_facts(tmp_path.as_uri())
    assert (dict(before.config), before.weight_bytes) == ({}, 8)
    (tmp_path / "1" / "model.py").rename(tmp_path / "1" / "other.py")
    assert read_custom_facts(tmp_path.as_uri()).digest != before.digest
    with pytest.raises(CheckpointMissing, match="no model folder"):
        read_custom_facts((tmp_path / "none").as_uri())


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
