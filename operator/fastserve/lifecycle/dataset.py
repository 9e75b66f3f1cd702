"""Labelled texts: read, checked line by line, split. Pure but for reading the files."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastserve.errors import InvalidSpec

MIN_PER_LABEL = 4
"""Fewer examples of a label cannot be split into some to learn from and some to be judged by."""


@dataclass(frozen=True)
class Row:
    """One labelled text."""

    text: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """Rows in the order of the files; `digest` is over the files' bytes."""

    rows: tuple[Row, ...]
    digest: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, sorted; a label's place here is its place in the scores."""
        return tuple(sorted({row.label for row in self.rows}))


def read_dataset(paths: Sequence[Path], field: str) -> Dataset:
    """Read JSON Lines ``{"text": …, "label": …}``; `field` is the option that an error names.

    Raises InvalidSpec with file and line where something is not as it should be.
    """
    rows: list[Row] = []
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = path.read_bytes()
            lines = content.decode("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSpec(field, f"{path} cannot be read: {error}") from error
        digest.update(content)
        places = ((f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip())
        rows.extend(_row(line, place, field) for place, line in places)
    if not rows:
        raise InvalidSpec(field, f"no rows in {', '.join(map(str, paths))}")
    return Dataset(tuple(rows), digest.hexdigest())


def _row(line: str, place: str, field: str) -> Row:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise InvalidSpec(field, f"{place} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSpec(field, f"{place} is not a JSON object")
    for key in ("text", "label"):
        value = document.get(key)
        if not isinstance(value, str) or not value.strip():
            raise InvalidSpec(field, f'{place} has no "{key}"', '{"text": "…", "label": "…"}')
    return Row(document["text"], document["label"])


def check_learnable(dataset: Dataset) -> None:
    """Raise InvalidSpec where there is nothing to tell apart, or too little to learn it from."""
    counts = Counter(row.label for row in dataset.rows)
    if len(counts) < 2:
        raise InvalidSpec("data", f"only one label, {next(iter(counts))!r}", "two labels or more")
    label, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
    if fewest < MIN_PER_LABEL:
        raise InvalidSpec("data", f"{fewest} examples of label {label!r}", f"{MIN_PER_LABEL} or more of each")


def check_same_labels(validation: Dataset, labels: Sequence[str]) -> None:
    """Raise InvalidSpec where the validation file has a label that nobody learns."""
    foreign = sorted(set(validation.labels) - set(labels))
    if foreign:
        raise InvalidSpec("validation", f"label {foreign[0]!r} is not in the data", ", ".join(labels))


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(to learn from, to be judged by): `share` of each label's rows, at least one, is held out."""
    generator = random.Random(seed)  # noqa: S311 -- a reproducible split, not a secret
    held: set[int] = set()
    for label in sorted({row.label for row in rows}):
        places = [place for place, row in enumerate(rows) if row.label == label]
        count = min(len(places) - 1, max(1, round(share * len(places))))
        held.update(generator.sample(places, count))
    learn = tuple(row for place, row in enumerate(rows) if place not in held)
    return learn, tuple(rows[place] for place in sorted(held))
