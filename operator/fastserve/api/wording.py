"""What a validation error means to someone who wrote the YAML: what was found, what is allowed, and the
nearest right name."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from fastserve.api.schema import Schema
from fastserve.api.uris import ALLOWED_FORMS, STORAGE_URI_PATTERN
from fastserve.api.versions import FACTOR_PATTERN

Path = tuple[str | int, ...]
"""Keys and indexes that lead to a field. Not yaml_documents' own: the operator reads no YAML, and its
image has nothing that could."""
MAX_SHOWN = 60
"""Characters of a value that a message repeats."""


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean …?`` where one of `words` is near to `word` (difflib's ratio, case aside)."""
    by_folded = {candidate.casefold().replace("_", ""): candidate for candidate in words}
    close = get_close_matches(word.casefold().replace("_", ""), by_folded, n=1, cutoff=0.6)
    return f"; did you mean {by_folded[close[0]]}?" if close else ""


def sentence_of(error: Mapping[str, Any], schema: Schema) -> str:
    """The message for one of pydantic's error details; `schema` is the whole document's."""
    path: Path = tuple(error["loc"])
    kind = str(error["type"])
    if kind == "extra_forbidden":
        names = list(_node_at(schema, path[:-1]).get("properties", {}))
        return "unknown field" + (nearest(str(path[-1]), names) or f"; allowed: {', '.join(names)}")
    if kind == "missing":
        return f"required, but not there; {_described(_node_at(schema, path))}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    return _wrong_value(error["input"], _node_at(schema, path))


def _described(node: Schema) -> str:
    description = str(node.get("description", ""))
    return f"{allowed(node)}: {description}" if description else allowed(node)


def _wrong_value(found: Any, node: Schema) -> str:
    message = f"found {shown(found)}; allowed: {allowed(node)}"
    if isinstance(found, str) and "enum" in node:
        return message + nearest(found, node["enum"])
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if node.get("type") == "string" and is_number:
        return f'{message}, in quotes: "{found}"'
    return message


def _node_at(schema: Schema, path: Path) -> Schema:
    """The schema of the field at `path`; of the whole document where the path leads nowhere."""
    node = schema
    for part in path:
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        node = inner or node.get("additionalProperties") or node
    return node


def shown(value: Any) -> str:
    """A value as it stands in YAML, with its type in words."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a block of fields"
    text = json.dumps(value, ensure_ascii=False)
    kind = "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"
    return f"{text[:MAX_SHOWN]}{'…' if len(text) > MAX_SHOWN else ''} ({kind})"


def allowed(node: Schema) -> str:
    """What a field takes, in words."""
    if "enum" in node:
        return " or ".join(node["enum"]) if len(node["enum"]) < 3 else f"one of {', '.join(node['enum'])}"
    if "x-kubernetes-int-or-string" in node:
        return "a quantity, such as 500m, 2 or 16Gi"
    kinds = {"object": "a block of fields", "boolean": "true or false", "array": "a list"}
    kind = node["type"]
    if kind == "integer":
        return "a whole number" + _bounds(node.get("minimum"), node.get("maximum"))
    if kind == "array":
        return kinds[kind] + _bounds(node.get("minItems"), node.get("maxItems"), " items")
    if kind == "string":
        return _text(node)
    return kinds[kind]


def _text(node: Schema) -> str:
    hints = {
        r"^(0(\.\d{1,6})?|1(\.0{1,6})?)$": "a decimal from 0 to 1 written as text",
        FACTOR_PATTERN: "a decimal from 1 to 9999 written as text",
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and '-' inside",
        r"^file://.+": "a URI that begins with file://",
        r"^(|sha256:[0-9a-f]{64})$": "sha256: and 64 hex digits",
        STORAGE_URI_PATTERN: "a URI: " + "; ".join(ALLOWED_FORMS.values()),
    }
    pattern = node.get("pattern")
    kind = hints.get(pattern, f"text matching {pattern}") if pattern else "text"
    return kind + _bounds(node.get("minLength"), node.get("maxLength"), " characters")


def _bounds(least: int | None, most: int | None, unit: str = "") -> str:
    if least is not None and most is not None:
        return f", {least} to {most}{unit}"
    if most is not None:
        return f", at most {most}{unit}"
    return "" if least is None else f", at least {least}{unit}"
