"""A Triton model folder of a user's own: what is refused, and how it is shown to Triton."""

import os
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from fastserve.errors import CheckpointError, CheckpointMissing, FastServeError, InvalidSpec
from fastserve.router.custom_model import read_custom_model, without_name, write_custom_model
from fastserve.router.model_files import ModelFiles

CONFIG = """\
# name: "not this one"
name: "sentiment"   # nor is this comment kept
backend: "python"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
parameters { key: "name" value { string_value: "name: \\"x\\"" } }
"""


def folder(tmp_path: Path, config: str | None = CONFIG) -> ModelFiles:
    made = tmp_path / "mine"
    (made / "1").mkdir(parents=True)
    (made / "1" / "model.py").write_text("# mine\n")
    (made / "labels.txt").write_text("a\nb\n")
    if config is not None:
        (made / "config.pbtxt").write_text(config)
    return ModelFiles(made, made)


def parsed(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_only_the_models_own_name_goes_from_the_configuration() -> None:
    wanted = parsed(CONFIG)
    wanted.name = ""

    assert parsed(without_name(CONFIG)) == wanted


@given(
    name=st.text(min_size=1),
    quote=st.sampled_from(['"', "'"]),
    colon=st.sampled_from([":", " : ", ":\n"]),
    end=st.sampled_from([" ", "\n", ", ", ";\n", "  # why\n"]),
    first=st.booleans(),
)
def test_a_name_goes_however_it_is_written(name: str, quote: str, colon: str, end: str, first: bool) -> None:
    escaped = "".join(f"\\{byte:03o}" for byte in name.encode())
    field = f"name{colon}{quote}{escaped}{quote}{end}"
    text = field + 'backend: "b" ' if first else 'backend: "b"\n' + field + 'input { name: "text" }'
    wanted = parsed(text)
    assert wanted.name == name
    wanted.name = ""

    assert parsed(without_name(text)) == wanted


def test_triton_sees_links_to_the_users_files_and_a_configuration_of_ours(tmp_path: Path) -> None:
    files, place = folder(tmp_path), tmp_path / "repository" / "sport-12345678"
    (files.folder / ".fastserve-source.json").write_text("{}")
    (place / "1").mkdir(parents=True)

    write_custom_model(place, read_custom_model(files, "scores"))
    write_custom_model(place, read_custom_model(files, "scores"))

    assert sorted(path.name for path in place.iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    assert (place / "1" / "model.py").read_text() == "# mine\n"
    assert (place / "1").resolve() == files.folder / "1"
    assert parsed((place / "config.pbtxt").read_text()).name == ""
    assert (files.folder / "config.pbtxt").read_text() == CONFIG


SCORES = 'output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]'
TEXT = 'input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]'


@pytest.mark.parametrize(
    ("config", "kind", "fault"),
    [
        (None, CheckpointError, r"the model folder has no config\.pbtxt"),
        ("backend: {", CheckpointError, r"config\.pbtxt is no Triton model configuration: 1:"),
        (CONFIG.replace('"scores"', '"logits"'), InvalidSpec, "has the outputs logits .*an output scores"),
        (f"{TEXT} {SCORES.replace('FP32', 'FP16')}", InvalidSpec, "an output scores, TYPE_FP32"),
        (SCORES, InvalidSpec, "has the inputs none .*one input text"),
        (f"{TEXT.replace('text', 'prompt')} {SCORES}", InvalidSpec, "has the inputs prompt"),
        (f"{TEXT.replace('STRING', 'INT32')} {SCORES}", InvalidSpec, "one input text, TYPE_STRING"),
    ],
)
def test_a_folder_that_cannot_be_served_is_refused_with_the_reason(
    tmp_path: Path, config: str | None, kind: type[FastServeError], fault: str
) -> None:
    with pytest.raises(kind, match=fault):
        read_custom_model(folder(tmp_path, config), "scores")


def test_an_embedding_needs_the_output_embedding(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"has the outputs scores .*an output embedding"):
        read_custom_model(folder(tmp_path), "embedding")


def test_what_a_newer_tritons_configuration_says_stays_in_it(tmp_path: Path) -> None:
    files = folder(tmp_path, CONFIG + 'something_new: { of: "tomorrow" }\n')

    assert 'something_new: { of: "tomorrow" }' in read_custom_model(files, "scores").config


def test_no_version_folder_and_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    files = folder(tmp_path)
    os.rename(files.folder / "1", files.folder / "first")  # noqa: PTH104
    with pytest.raises(CheckpointError, match="no version folder"):
        read_custom_model(files, "scores")
    (files.folder / "1").symlink_to("/etc")
    with pytest.raises(CheckpointError, match="1 is a link to outside the model's folder"):
        read_custom_model(files, "scores")


def test_there_may_be_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="there is no model folder"):
        read_custom_model(ModelFiles(tmp_path / "none", tmp_path), "scores")


def test_a_configuration_that_is_nested_without_end_or_no_file_is_refused(tmp_path: Path) -> None:
    files = folder(tmp_path, "a { " * 5000)
    with pytest.raises(CheckpointError, match="nested too deep"):
        read_custom_model(files, "scores")
    (files.folder / "config.pbtxt").unlink()
    os.mkfifo(files.folder / "config.pbtxt")
    with pytest.raises(CheckpointError, match="is no file"):
        read_custom_model(files, "scores")
