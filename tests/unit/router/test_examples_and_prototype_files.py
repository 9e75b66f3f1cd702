"""Reading examples, and keeping prototypes."""

from pathlib import Path

import numpy as np
import pytest

from fastserve.api.routes import Meaning
from fastserve.api.uris import path_of
from fastserve.errors import CheckpointError
from fastserve.router.prototype_files import (
    prototype_key,
    read_examples,
    read_prototypes,
    write_prototypes,
)


def meaning(path: Path | None = None, *texts: str) -> Meaning:
    return Meaning(examples=texts, storage_uri=path.as_uri() if path else "", digest="d" * 64)


def test_a_file_may_mix_lines_and_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "my examples.txt"
    path.write_text('one\n\n{"text": "two", "label": 3}\n  three  \n')

    assert read_examples(meaning(path, "zero")) == ["zero", "one", "two", "three"]


@pytest.mark.parametrize("end", ["\u2028", "\u0085", "\x0b"])
def test_only_a_newline_ends_a_line(tmp_path: Path, end: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(f"one{end}two\nthree\r\n", encoding="utf-8", newline="")

    assert read_examples(meaning(path)) == [f"one{end}two", "three"]


@pytest.mark.parametrize("name", ["my models", "Wörter", "a#b", "100%", "what?"])
def test_a_uri_leads_to_the_path_that_it_was_made_of(tmp_path: Path, name: str) -> None:
    assert path_of((tmp_path / name).as_uri()) == tmp_path / name
    assert path_of("file:///a#b?c") == Path("/a#b?c")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'ok\n{"txt": "a"}', ':2: the field "text" is missing'),
        (b"{bad", ":1: "),
        (b'{"a":' * 9999, ":1: "),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_bad_file_is_told_with_its_line(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=fault):
        read_examples(meaning(path))


def test_a_missing_file_and_no_examples_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.txt cannot be read"):
        read_examples(meaning(tmp_path / "gone.txt"))
    with pytest.raises(CheckpointError, match="no examples"):
        read_examples(meaning())
    with pytest.raises(CheckpointError, match="not a file://"):
        path_of("s3://bucket/a")


def test_prototypes_are_kept_under_all_that_they_depend_on(tmp_path: Path) -> None:
    rows = np.eye(3, 8, dtype=np.float16)
    key = prototype_key("encoder", meaning(), 64)
    assert read_prototypes(tmp_path, key) is None
    write_prototypes(tmp_path / "deep", key, rows)

    found = read_prototypes(tmp_path / "deep", key)

    assert found is not None
    assert found.dtype == np.float32
    assert np.array_equal(found, rows)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [f"{key}.npy"]
    others = {prototype_key("other", meaning(), 64), prototype_key("encoder", meaning(), 32)}
    assert key not in others


def test_a_file_cut_short_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "k.npy").write_bytes(b"\x93NUMPY")

    assert read_prototypes(tmp_path, "k") is None
