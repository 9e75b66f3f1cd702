import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.errors import InvalidSpec
from fastserve.lifecycle.dataset import (
    Dataset,
    Row,
    check_learnable,
    check_same_labels,
    read_dataset,
    split,
)


def rows_of(**counts: int) -> tuple[Row, ...]:
    return tuple(
        Row(f"{label} {number}", label) for label, count in counts.items() for number in range(count)
    )


def written(folder: Path, text: str) -> Path:
    file = folder / "rows.jsonl"
    file.write_text(text, "utf-8")
    return file


def fault(folder: Path, text: str) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as raised:
        read_dataset([written(folder, text)], "data")
    return raised.value


def test_rows_come_in_the_order_of_the_lines_and_empty_lines_do_not_count(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in (("one", "b"), ("two", "a"))]
    dataset = read_dataset([written(tmp_path, "\n" + "\n\n".join(lines) + "\n")], "data")
    assert dataset.rows == (Row("one", "b"), Row("two", "a"))
    assert dataset.labels == ("a", "b")


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    row = json.dumps({"text": "one\u2028two", "label": "a"}, ensure_ascii=False)
    assert read_dataset([written(tmp_path, row)], "data").rows == (Row("one\u2028two", "a"),)


def test_several_files_are_one_dataset_with_one_digest(tmp_path: Path) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    first.write_text('{"text": "one", "label": "a"}\n')
    second.write_text('{"text": "two", "label": "b"}\n')
    both = read_dataset([first, second], "data")
    assert [row.text for row in both.rows] == ["one", "two"]
    assert both.digest not in {read_dataset([file], "data").digest for file in (first, second)}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "line 2 is not JSON"),
        ('["a", "b"]', "line 2 is not a JSON object"),
        ('{"text": "two"}', 'line 2 has no "label"'),
        ('{"label": "a"}', 'line 2 has no "text"'),
        ('{"text": 7, "label": "a"}', 'line 2 has no "text"'),
        ('{"text": "  ", "label": "a"}', 'line 2 has no "text"'),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: str, words: str) -> None:
    error = fault(tmp_path, '{"text": "one", "label": "a"}\n' + line)
    assert error.field == "data"
    assert f"rows.jsonl, {words}" in error.detail


def test_a_file_that_is_missing_empty_or_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot be read"):
        read_dataset([tmp_path / "absent.jsonl"], "data")
    assert "no rows" in fault(tmp_path, "\n").detail
    (tmp_path / "latin.jsonl").write_bytes('{"text": "é", "label": "a"}'.encode("latin-1"))
    with pytest.raises(InvalidSpec, match="cannot be read"):
        read_dataset([tmp_path / "latin.jsonl"], "data")


def test_one_label_cannot_be_learned() -> None:
    with pytest.raises(InvalidSpec, match="only one label, 'a'"):
        check_learnable(Dataset(rows_of(a=9), ""))


def test_the_label_with_too_few_examples_is_named() -> None:
    with pytest.raises(InvalidSpec, match="3 examples of label 'b'"):
        check_learnable(Dataset(rows_of(a=9, b=3, c=4), ""))
    check_learnable(Dataset(rows_of(a=4, b=4), ""))


def test_a_validation_label_that_nobody_learns_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="'c' is not in the data"):
        check_same_labels(Dataset(rows_of(a=1, c=1), ""), ("a", "b"))
    check_same_labels(Dataset(rows_of(b=1), ""), ("a", "b"))


@given(
    counts=st.lists(st.integers(4, 30), min_size=2, max_size=5),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
)
def test_a_split_loses_no_row_and_every_label_is_on_both_sides(
    counts: list[int], share: float, seed: int
) -> None:
    rows = rows_of(**{f"l{place}": count for place, count in enumerate(counts)})
    learn, judged = split(rows, share, seed)
    assert sorted([*learn, *judged], key=str) == sorted(rows, key=str)
    assert {row.label for row in learn} == {row.label for row in judged} == {row.label for row in rows}
    assert split(rows, share, seed) == (learn, judged)
