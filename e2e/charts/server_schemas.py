"""JSON Schemas for kubeconform, one file a kind, from what the API server itself publishes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
REFERENCE = "#/definitions/"


def write_schemas(published: Schema, folder: Path) -> str:
    """Write a strict schema for every kind of `published`, the answer of /openapi/v2; kubeconform's
    --schema-location for them."""
    definitions = {name: _strict(schema) for name, schema in published["definitions"].items()}
    for name, schema in published["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            needed = {known: definitions[known] for known in _closure(name, definitions)}
            document = {"$ref": f"{REFERENCE}{name}", "definitions": needed}
            (folder / _file_name(kind)).write_text(json.dumps(document), encoding="utf-8")
    return f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"


def _file_name(kind: Schema) -> str:
    group = kind["group"].partition(".")[0]
    return "-".join(part for part in (kind["kind"].lower(), group, kind["version"]) if part) + ".json"


def _strict(node: Any) -> Any:
    """Unknown fields are refused, and what may be a number or a text is no text alone."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    converted = {key: _strict(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        converted["additionalProperties"] = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    return converted


def _closure(name: str, definitions: dict[str, Schema]) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _referenced(definitions[current])
    return found


def _referenced(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _referenced(item)
    elif isinstance(node, dict):
        target = node.get("$ref")
        if isinstance(target, str):
            yield target.removeprefix(REFERENCE)
        for value in node.values():
            yield from _referenced(value)
