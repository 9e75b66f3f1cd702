"""Kubernetes structural schemas from the documents users write.

Pydantic writes JSON Schema with references and unions; an API server takes neither. What can be said
structurally is rewritten, everything else is refused with the field's name, so that a field which no
cluster could validate is found when it is written, not when it is applied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastserve.api.meta import Document
from fastserve.errors import FastServeError

Schema = dict[str, Any]

STRUCTURAL_KEYWORDS = frozenset(
    {
        "type", "description", "default", "enum", "format", "pattern", "minimum", "maximum",
        "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "items", "properties", "required",
        "additionalProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
        "x-kubernetes-validations", "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
    }
)  # fmt: skip
"""Everything that may stand in a node of ours. exclusiveMinimum is not here: JSON Schema has a number
there, OpenAPI 3.0 a boolean; write ``ge``."""


class NotStructural(FastServeError):
    """A field of our own documents that has no structural schema; names the field."""

    reason = "NotStructural"


@dataclass(frozen=True)
class Rule:
    """One CEL rule: `expression` must be true of ``self``, or `message` is the API server's answer."""

    expression: str
    message: str

    def as_schema(self) -> Schema:
        return {"rule": self.expression, "message": self.message}


@dataclass(frozen=True)
class _Source:
    definitions: Mapping[str, Schema]
    rules: Mapping[str, tuple[Rule, ...]]


def structural_schema(model: type[Document], rules: Mapping[str, tuple[Rule, ...]] | None = None) -> Schema:
    """The structural schema of `model`; `rules` are CEL rules by the name of the document class.

    Raises NotStructural where a field cannot be expressed.
    """
    raw = model.model_json_schema(by_alias=True)
    source = _Source(raw.pop("$defs", {}), rules or {})
    return _converted(_with_rules(raw, model.__name__, source), model.__name__, source)


def _converted(node: Schema, path: str, source: _Source) -> Schema:
    flat = _flattened(node, path, source)
    if "const" in flat:
        flat["enum"] = [flat.pop("const")]
    unknown = sorted(set(flat) - STRUCTURAL_KEYWORDS)
    if unknown or not ("type" in flat or "x-kubernetes-int-or-string" in flat):
        raise NotStructural(f"{path}: {unknown or 'a field without a type'} is not structural")
    if "description" in flat:
        flat["description"] = " ".join(flat["description"].split())
    if "properties" in flat:
        flat["properties"] = _properties(flat, path, source)
    if flat.get("type") == "array":
        flat["items"] = _items(flat, path, source)
    if "additionalProperties" in flat:
        flat["additionalProperties"] = _converted(flat["additionalProperties"], f"{path}.*", source)
    return flat


def _flattened(node: Schema, path: str, source: _Source) -> Schema:
    """`node` without references, without the null of an optional field, without what no server reads."""
    siblings = {key: value for key, value in node.items() if key not in {"$ref", "anyOf", "title"}}
    if siblings.get("additionalProperties") is False:
        del siblings["additionalProperties"]
    # An empty default says nothing, and the server would write it into every object that users keep in Git.
    if siblings.get("default", ...) in (None, "", [], {}):
        del siblings["default"]
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        referenced = _with_rules(source.definitions[name], name, source)
        return {**_flattened(referenced, path, source), **siblings}
    if "anyOf" in node:
        return {**_flattened(_only_choice(node["anyOf"], path), path, source), **siblings}
    return siblings


def _with_rules(node: Schema, name: str, source: _Source) -> Schema:
    rules = source.rules.get(name, ())
    return {**node, "x-kubernetes-validations": [rule.as_schema() for rule in rules]} if rules else node


def _only_choice(choices: list[Schema], path: str) -> Schema:
    """X of ``X | None``: an absent field says the same as null, so null needs no place in the schema."""
    others = [choice for choice in choices if choice != {"type": "null"}]
    if len(others) != 1:
        raise NotStructural(f"{path}: ['anyOf'] is not structural")
    return others[0]


def _properties(node: Schema, path: str, source: _Source) -> Schema:
    required = node.get("required", [])
    converted = {}
    for name, field in node["properties"].items():
        child = _converted(field, f"{path}.{name}", source)
        # The server fills defaults only inside objects that exist: an optional block in which there is a
        # default is itself defaulted to {}. One that was written as `X | None` is a choice.
        block = any("default" in inner for inner in child.get("properties", {}).values())
        if block and "anyOf" not in field and name not in required and not child.get("required"):
            child.setdefault("default", {})
        converted[name] = child
    return converted


def _items(node: Schema, path: str, source: _Source) -> Schema:
    if "x-kubernetes-list-type" not in node:
        raise NotStructural(f"{path}: a list needs x-kubernetes-list-type (atomic, set or map)")
    return _converted(node["items"], f"{path}[]", source)
