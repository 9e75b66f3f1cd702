"""For each constraint of the schemas one value that it lets in and one that it keeps out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crds.corpus import SCHEMAS, FieldPath, Json, fields

WRONG_TYPE: dict[str, Json] = {"string": 7, "integer": "seven", "boolean": "yes", "object": "x", "array": "x"}
TEXTS = (
    "0.5", "0.1", "news", "s3://models/sport", "sha256:" + "0" * 64, "file:///models", "X", "16Gi", "2",
    "http://collector:4318", "08:00",
)  # fmt: skip


@dataclass(frozen=True)
class Edge:
    """`field` takes `right` and refuses `wrong`, for the sake of `keyword`."""

    kind: str
    field: FieldPath
    keyword: str
    right: Json
    wrong: Json

    def __str__(self) -> str:
        return f"{self.kind}.spec.{'.'.join(self.field)} {self.keyword}"


def edges() -> Iterator[Edge]:
    """All of them, for both kinds."""
    for kind in SCHEMAS:
        for path, node in fields(kind):
            yield from (Edge(kind, path, *found) for found in _edges_of(node))


def _edges_of(node: dict[str, Any]) -> Iterator[tuple[str, Json, Json]]:
    right = _right(node)
    yield "type", right, WRONG_TYPE.get(node.get("type", ""), [])
    if "minimum" in node:
        yield "minimum", node["minimum"], node["minimum"] - 1
    if "maximum" in node:
        yield "maximum", node["maximum"], node["maximum"] + 1
    if "enum" in node:
        yield "enum", node["enum"][-1], "NoneOfThem"
    if "pattern" in node:
        yield "pattern", right, "Not/ A\tmatch"
    if "maxLength" in node and "pattern" not in node and "enum" not in node:
        yield "maxLength", "x" * node["maxLength"], "x" * (node["maxLength"] + 1)
    if node.get("minLength"):
        yield "minLength", right, ""
    if "maxItems" in node:
        yield "maxItems", *_lists(node)
    if "maxProperties" in node:
        yield "maxProperties", *({f"k{i}": "1" for i in range(n)} for n in _around(node["maxProperties"]))
    if node.get("required"):
        yield "required", right, {}


def _around(most: int) -> tuple[int, int]:
    return most, most + 1


def _lists(node: dict[str, Any]) -> tuple[Json, ...]:
    """Lists of as many different items as are allowed, and of one more."""
    item = _right(node["items"])
    keys = node.get("x-kubernetes-list-map-keys", ())
    return tuple(
        [{**item, **dict.fromkeys(keys, f"n{i}")} if keys else item for i in range(n)]
        for n in _around(node["maxItems"])
    )


def _right(node: dict[str, Any]) -> Json:
    """A value that the field takes: of an object what is required, of the others the least."""
    if "enum" in node:
        return node["enum"][0]
    if node.get("x-kubernetes-int-or-string"):
        return "1Gi"
    if node["type"] == "object":
        return {name: _right(node["properties"][name]) for name in node.get("required", ())}
    if node["type"] == "string":
        return _text(node)
    return {"integer": node.get("minimum", 1), "boolean": True, "array": []}[node["type"]]


def _text(node: dict[str, Any]) -> str:
    pattern = re.compile(node.get("pattern", ""))
    return next(text for text in TEXTS if pattern.search(text) and len(text) >= node.get("minLength", 0))
