"""From files to plans, as far as nothing has to be installed for it."""

from pathlib import Path

import pytest

from fastserve.errors import LocalError
from fastserve.local.environment import Environment, TritonHome
from fastserve.local.preparing import Wanted, engine_home, plans_for, read
from make import machine

POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: news}
spec: {}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: sport}
spec:
  poolRef: {name: news}
  examples: [Who won the match?]
  model: {storageUri: "file://./models/sport"}
"""
CONFIG = '{"model_type": "bert", "num_attention_heads": 2, "hidden_size": 4, "intermediate_size": 8}'


def wanted(folder: Path) -> Wanted:
    model = folder / "models" / "sport"
    model.mkdir(parents=True)
    (model / "config.json").write_text(CONFIG)
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"12345678")
    (folder / "pool.yaml").write_text(POOL)
    return read([folder])


def environment(folder: Path) -> Environment:
    triton = TritonHome(folder, folder, "", folder, "3.11")
    return Environment(triton, folder / "engine" / "venv" / "bin" / "python", folder, folder)


def test_relative_checkpoints_lie_beside_the_file(tmp_path: Path) -> None:
    (made,) = plans_for(wanted(tmp_path), engine_home(environment(tmp_path)), machine())
    assert [instance.sub_model for instance in made.plan.instances] == ["sport"]


def test_too_little_memory_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(
        LocalError, match=r"Too little memory for news: about 1\..* are needed, and 0\.5 GiB are"
    ):
        plans_for(wanted(tmp_path), engine_home(environment(tmp_path)), machine(memory_bytes=1 << 29))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "there are no examples"),
        ('{"txt": 1}', "examples.jsonl:1"),
    ],
)
def test_examples_that_cannot_be_read_reject_their_sub_model(
    tmp_path: Path, text: str | None, words: str
) -> None:
    wanted(tmp_path)
    file = tmp_path / "pool.yaml"
    file.write_text(
        POOL.replace("examples: [Who won the match?]", "examplesFrom: {storageUri: file://examples.jsonl}")
    )
    if text is not None:
        (tmp_path / "examples.jsonl").write_text(text)
    (made,) = plans_for(read([file]), engine_home(environment(tmp_path)), machine())
    why = made.plan.rejected["sport"]
    assert (why.field, words in why.message) == ("spec.examplesFrom.storageUri", True)
    assert made.plan.instances == ()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.symlink_to("/proc/self/mem")  # opens, and reading it fails, for root as well
    with pytest.raises(LocalError, match=r"pool.yaml cannot be read: "):
        read([file])
