import json
from pathlib import Path

import pytest

from fastserve.errors import CheckpointError, InvalidSpec
from fastserve.lifecycle.artefact import (
    RECORD,
    Artefact,
    Origin,
    check_replaceable,
    folder_digest,
    folder_made_whole,
    read_artefact,
    write_artefact,
)

ARTEFACT = Artefact("d" * 64, Origin("base", "e" * 64), {"accuracy": 0.5}, {"rows": 3}, {"seed": 1})


def checkpoint(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write_artefact(tmp_path, ARTEFACT)
    assert read_artefact(tmp_path) == ARTEFACT


def test_a_model_from_elsewhere_has_no_artefact(tmp_path: Path) -> None:
    assert read_artefact(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"digest": "d"}', json.dumps({"parent": {"name": "a"}})])
def test_a_broken_record_is_an_error_of_the_checkpoint(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(CheckpointError, match=RECORD):
        read_artefact(tmp_path)


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    one, two = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "two")
    other = checkpoint(tmp_path / "other", b"weighTs")
    (two / "README.md").write_text("not part of the model")
    write_artefact(two, ARTEFACT)
    assert folder_digest(one) == folder_digest(two) != folder_digest(other)


@pytest.mark.parametrize("changed", ["config.json", "tokenizer.json", "model.safetensors"])
def test_each_file_of_the_model_counts(tmp_path: Path, changed: str) -> None:
    folder = checkpoint(tmp_path / "one")
    before = folder_digest(folder)
    (folder / changed).write_text("changed")
    assert folder_digest(folder) != before


def test_a_folder_without_weights_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="safetensors"):
        folder_digest(tmp_path)


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "absent", RECORD)
    check_replaceable(tmp_path, RECORD)
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(InvalidSpec, match="not made by FastServe"):
        check_replaceable(tmp_path, RECORD)
    (tmp_path / RECORD).write_text("{}")
    check_replaceable(tmp_path, RECORD)


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(InvalidSpec, match="exists"):
        check_replaceable(tmp_path / "model", RECORD)


def test_the_new_folder_takes_the_place_of_the_old(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "model"
    for text in ("first", "second"):
        with folder_made_whole(output) as folder:
            (folder / text).write_text(text)
    assert [path.name for path in output.iterdir()] == ["second"]
    assert list(output.parent.iterdir()) == [output]


def test_an_error_on_the_way_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    output = checkpoint(tmp_path / "model")
    before = folder_digest(output)

    def fail() -> None:
        with folder_made_whole(output) as folder:
            (folder / "half").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert folder_digest(output) == before
    assert list(tmp_path.iterdir()) == [output]
