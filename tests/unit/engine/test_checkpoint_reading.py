import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import engine_checkpoints as checkpoints
from fastserve.engine.runners import Load, Runner, load_runner
from fastserve.engine.sharding import Group
from fastserve.errors import CheckpointError, CheckpointMissing, EngineError, InvalidSpec


def loaded(folder: Path, task: str = "TextClassification", max_tokens: int | None = None) -> Runner:
    return load_runner(task, Load(folder, Group(), "cpu", max_tokens), lambda done, total: None)


def rewrite(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Replace tensors of the checkpoint; None takes one away."""
    tensors = {**load_file(folder / "model.safetensors"), **change}
    kept = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_classifiers_checkpoint_serves_as_an_encoder(tmp_path: Path) -> None:
    whole = checkpoints.save_classifier(tmp_path / "both", "bert")
    whole.bert.save_pretrained(tmp_path / "bare")
    checkpoints.save_tokenizer(tmp_path / "bare")
    np.testing.assert_array_equal(
        loaded(tmp_path / "both", "Embedding").run(["w5 w6"]),
        loaded(tmp_path / "bare", "Embedding").run(["w5 w6"]),
    )


def test_an_encoders_checkpoint_is_no_classifier(tmp_path: Path) -> None:
    checkpoints.save_encoder(tmp_path, "bert")
    with pytest.raises(CheckpointError, match=r"tensor classifier\.weight is missing"):
        loaded(tmp_path)


def test_shards_of_a_large_checkpoint_are_read_from_their_files(tmp_path: Path) -> None:
    whole = checkpoints.save_classifier(tmp_path / "one", "bert")
    whole.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    checkpoints.save_tokenizer(tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    np.testing.assert_array_equal(
        loaded(tmp_path / "one").run(checkpoints.TEXTS), loaded(tmp_path / "many").run(checkpoints.TEXTS)
    )


def test_half_precision_weights_are_served_in_float32(tmp_path: Path) -> None:
    whole = checkpoints.save_classifier(tmp_path, "bert")
    exact = loaded(tmp_path).run(["w5 w6"])
    whole.to(torch.bfloat16).save_pretrained(tmp_path)
    halved = loaded(tmp_path)
    assert halved.parameter_bytes == sum(p.numel() * 4 for p in whole.parameters())
    np.testing.assert_allclose(halved.run(["w5 w6"]), exact, atol=0.05)


def test_the_old_names_of_a_layernorm_are_understood(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    expected = loaded(tmp_path).run(["w5"])
    tensors = load_file(tmp_path / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded(tmp_path).run(["w5"]), expected)


def test_texts_are_read_up_to_the_limit(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    runner = loaded(tmp_path, max_tokens=8)
    long = " ".join(f"w{n}" for n in range(10, 60))
    np.testing.assert_array_equal(runner.run([long]), runner.run(["w10 w11 w12 w13 w14 w15"]))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_text_longer_than_the_positions_is_cut_not_refused(tmp_path: Path, family: str) -> None:
    checkpoints.save_classifier(tmp_path, family)
    assert loaded(tmp_path).run(["w10 " * 200]).shape == (1, 3)


@pytest.mark.parametrize(
    ("problem", "total"), [("single_label_classification", 1.0), ("multi_label_classification", None)]
)
def test_labels_exclude_each_other_or_not_as_the_config_says(
    tmp_path: Path, problem: str, total: float | None
) -> None:
    whole = checkpoints.save_classifier(tmp_path, "bert", problem_type=problem)
    scores = loaded(tmp_path).run(["w5 w6"])[0]
    if total is not None:
        assert scores.sum() == pytest.approx(total, abs=1e-6)
    else:
        with torch.inference_mode():
            logits = whole(torch.tensor([[2, 5, 6, 3]])).logits[0]
        np.testing.assert_allclose(scores, logits.sigmoid().numpy(), atol=1e-6)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="no checkpoint folder"):
        loaded(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    (tmp_path / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        loaded(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_truncated_file_is_named(tmp_path: Path, file: str) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=file):
        loaded(tmp_path)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    rewrite(tmp_path, {"bert.encoder.layer.1.output.dense.weight": None})
    with pytest.raises(CheckpointError, match=r"bert\.encoder\.layer\.1\.output\.dense\.weight is missing"):
        loaded(tmp_path)


@pytest.mark.parametrize("degree", [1, 2])
def test_a_tensor_of_another_shape_is_named(tmp_path: Path, degree: int) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    rewrite(tmp_path, {"bert.embeddings.word_embeddings.weight": torch.zeros(120, 32)})
    with pytest.raises(CheckpointError, match=r"word_embeddings\.weight has the shape \[120, 32\]"):
        load_runner("TextClassification", Load(tmp_path, Group(0, degree), "cpu"), lambda done, total: None)


def test_an_index_that_names_a_missing_file_is_told(tmp_path: Path) -> None:
    whole = checkpoints.save_classifier(tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    whole.save_pretrained(tmp_path, max_shard_size="20KB")
    victim = sorted(tmp_path.glob("model-*.safetensors"))[1]
    victim.unlink()
    with pytest.raises(CheckpointError, match=f"{victim.name} is missing"):
        loaded(tmp_path)


def test_a_family_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    edit_config(tmp_path, model_type="gpt2")
    with pytest.raises(InvalidSpec, match="model_type 'gpt2' is not supported"):
        loaded(tmp_path)


def test_a_degree_that_does_not_divide_the_heads_is_refused(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    with pytest.raises(InvalidSpec, match="3 ranks do not divide"):
        load_runner("TextClassification", Load(tmp_path, Group(0, 3), "cpu"), lambda done, total: None)


def test_a_config_that_contradicts_itself_is_the_checkpoints_fault(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    edit_config(tmp_path, hidden_act="no-such-activation")
    with pytest.raises(CheckpointError, match="does not describe"):
        loaded(tmp_path)


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="task 'Painting'"):
        loaded(tmp_path, "Painting")
