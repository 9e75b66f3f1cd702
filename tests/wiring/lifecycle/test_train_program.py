"""The trainer as a process of its own: what it prints, what it writes, how it refuses."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from engine_checkpoints import save_encoder
from fastserve.lifecycle.artefact import folder_digest, read_artefact

LABELS = ("early", "late", "mixed")


@dataclass(frozen=True)
class Outcome:
    code: int
    events: list[dict[str, Any]]
    err: str

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


def run(module: str, *words: str) -> Outcome:
    command = [sys.executable, "-m", f"fastserve.lifecycle.{module}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    return Outcome(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    save_encoder(folder, "bert")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "rows.jsonl"
    words = {"early": range(5, 30), "late": range(60, 85), "mixed": range(30, 55)}
    rows = [{"text": f"w{at} w{at + 1} w{at + 3}", "label": label} for label in LABELS for at in words[label]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@dataclass(frozen=True)
class Trained:
    folder: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def trained(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("out") / "model"
    return Trained(folder, run("train", *words(base, data, folder)))


def words(base: Path, data: Path, output: Path) -> tuple[str, ...]:
    fixed = ("--epochs", "3", "--max-tokens", "16", "--threads", "1", "--learning-rate", "0.003")
    return ("--base", str(base), "--data", str(data), "--output", str(output), *fixed)


def test_progress_is_json_lines_from_start_to_done(trained: Trained) -> None:
    assert trained.outcome.code == 0, trained.outcome.err
    kinds = [event["event"] for event in trained.outcome.events]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"
    assert kinds.count("epoch") == 3
    steps = [event["step"] for event in trained.outcome.events if event["event"] == "step"]
    assert steps == list(range(1, trained.outcome.events[1]["steps"] + 1)) * 3
    assert trained.outcome.err == ""


def test_the_folder_is_a_hugging_face_classifier_with_our_labels(trained: Trained, base: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(trained.folder)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert (trained.folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert list(trained.folder.parent.iterdir()) == [trained.folder]


def test_the_record_tells_digest_parent_data_and_metrics(trained: Trained, base: Path) -> None:
    artefact = read_artefact(trained.folder)
    assert artefact is not None
    assert artefact.digest == folder_digest(trained.folder) == trained.outcome.last["digest"]
    assert (artefact.parent.name, artefact.parent.digest) == ("tiny", folder_digest(base))
    assert artefact.data["rows"] == 75
    assert artefact.metrics == trained.outcome.last["metrics"]
    assert set(artefact.metrics["perLabel"]) == set(LABELS)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    trained: Trained, base: Path, data: Path, tmp_path: Path
) -> None:
    same = run("train", *words(base, data, tmp_path / "same"))
    other = run("train", *words(base, data, tmp_path / "other"), "--seed", "1")
    assert same.last["digest"] == trained.outcome.last["digest"] != other.last["digest"]


def test_head_only_changes_the_head_and_leaves_the_body(base: Path, data: Path, tmp_path: Path) -> None:
    assert run("train", *words(base, data, tmp_path / "head"), "--head-only").code == 0
    before = transformers.AutoModel.from_pretrained(base).state_dict()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "head")
    after = model.bert.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"pooler.dense.weight", "pooler.dense.bias"}


def test_our_own_folder_is_replaced_and_a_foreign_one_only_when_told(
    base: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = run("train", *words(base, data, tmp_path))
    assert (refused.code, refused.last["field"], refused.last["allowed"]) == (2, "output", "--overwrite")
    assert (tmp_path / "notes.txt").exists()
    assert run("train", *words(base, data, tmp_path), "--overwrite").code == 0
    assert run("train", *words(base, data, tmp_path)).code == 0
    assert not (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (("--data", "absent.jsonl"), ("data", "")),
        (("--base", "absent"), ("base", "")),
        (("--max-tokens", "64"), ("max-tokens", "2 to 33")),
        (("--epochs", "0"), ("epochs", "")),
        (("--speed", "9"), ("options", "")),
    ],
)
def test_what_is_wrong_is_named_with_exit_code_two(
    base: Path, data: Path, tmp_path: Path, changes: tuple[str, ...], expected: tuple[str, str]
) -> None:
    given = run("train", *words(base, data, tmp_path / "out"), *changes)
    assert given.code == 2
    assert given.last["event"] == "error"
    assert (given.last["field"], given.last["allowed"]) == expected
    assert given.last["message"]
    assert not (tmp_path / "out").exists()


def test_a_base_of_an_unknown_family_names_those_that_are_known(
    base: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    given = run("train", *words(base, data, tmp_path / "out"), "--base", str(tmp_path))
    assert (given.code, given.last["field"]) == (2, "base")
    assert given.last["allowed"] == "bert, roberta, distilbert"
