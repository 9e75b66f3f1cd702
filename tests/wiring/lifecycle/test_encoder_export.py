"""The exported encoder answers in ONNX Runtime as the torch model does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from engine_checkpoints import save_encoder
from fastserve.errors import InvalidSpec
from fastserve.lifecycle.artefact import folder_digest
from fastserve.lifecycle.export_encoder import load_encoder, main


def export_apart(weights: Path, output: Path) -> None:
    """By the program, in a process of its own: the exporter reads Python's syntax trees, and CPython 3.11 can
    fail there with a SystemError where other threads or finalizers do so at the same time (gh-106905)."""
    program = [sys.executable, "-m", "fastserve.lifecycle.export_encoder"]
    subprocess.run([*program, "--weights", str(weights), "--output", str(output)], check=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    save_encoder(folder, "bert")
    return folder


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "encoder"
    export_apart(weights, folder)
    return folder


@pytest.mark.parametrize("texts", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 3, 7, 33])
def test_onnx_runtime_gives_what_torch_gives(weights: Path, exported: Path, texts: int, length: int) -> None:
    draw = np.random.default_rng(texts * 100 + length)
    ids = draw.integers(4, 97, (texts, length))
    mask = (np.arange(length) < draw.integers(1, length + 1, (texts, 1))).astype(np.int64)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
    with torch.inference_mode():
        expected = load_encoder(weights)(torch.tensor(ids), torch.tensor(mask)).numpy()
    assert found.dtype == np.float32
    assert found.shape == (texts, 32)
    assert np.abs(found - expected).max() <= 1e-5
    assert np.abs(np.linalg.norm(found, axis=1) - 1.0).max() <= 1e-5


def test_padding_does_not_change_a_vector(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    short = {"input_ids": np.array([[2, 9, 3]]), "attention_mask": np.ones((1, 3), np.int64)}
    long = {"input_ids": np.array([[2, 9, 3, 0, 0]]), "attention_mask": np.array([[1, 1, 1, 0, 0]])}
    assert np.abs(session.run(None, short)[0] - session.run(None, long)[0]).max() <= 1e-5


def test_the_folder_has_three_files_and_says_what_it_is(weights: Path, exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "encoder.json",
        "model.onnx",
        "tokenizer.json",
    ]
    record = json.loads((exported / "encoder.json").read_text())
    assert record == {"digest": folder_digest(weights), "dimension": 32, "maxTokens": 33}
    assert (exported / "tokenizer.json").read_bytes() == (weights / "tokenizer.json").read_bytes()


def test_the_limit_that_sentence_transformers_tells_goes_before_the_positions(
    weights: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    shutil.copytree(weights, told)
    (told / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    export_apart(told, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "encoder.json").read_text())["maxTokens"] == 12


def test_only_encoders_of_the_bert_family_are_exported(tmp_path: Path) -> None:
    save_encoder(tmp_path, "distilbert")
    with pytest.raises(InvalidSpec, match="distilbert"):
        load_encoder(tmp_path)


def test_a_missing_folder_is_an_error_event_with_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--weights", str(tmp_path / "absent"), "--output", str(tmp_path / "out")])
    event = json.loads(capsys.readouterr().out)
    assert (code, event["event"], event["field"]) == (2, "error", "weights")
