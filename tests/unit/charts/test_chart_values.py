"""The schema of the values, as any JSON Schema validator of draft 7 reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

CHARTS = Path(__file__).parents[3] / "charts"
both_charts = pytest.mark.parametrize("chart", ["fastserve", "fastserve-crds"])


def schema(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))
    return found


def blocks(node: Any) -> list[dict[str, Any]]:
    """Every object of the schema whose fields it names."""
    if isinstance(node, list):
        return [block for item in node for block in blocks(item)]
    if not isinstance(node, dict):
        return []
    inner = [block for item in node.values() for block in blocks(item)]
    return [node, *inner] if isinstance(node.get("properties"), dict) and "type" in node else inner


@both_charts
def test_the_schema_is_of_draft_7_and_the_defaults_keep_it(chart: str) -> None:
    Draft7Validator.check_schema(schema(chart))
    values = YAML(typ="safe").load((CHARTS / chart / "values.yaml").read_text(encoding="utf-8"))
    assert list(Draft7Validator(schema(chart)).iter_errors(values)) == []


@both_charts
def test_no_block_takes_a_field_that_nobody_reads(chart: str) -> None:
    found = blocks(schema(chart))
    assert found
    assert [block for block in found if block.get("additionalProperties") is not False] == []


@both_charts
def test_every_field_is_described_in_a_sentence(chart: str) -> None:
    for block in blocks(schema(chart)):
        for name, field in block["properties"].items():
            assert field.get("description", "").endswith("."), name


def test_the_schema_names_nothing_outside_itself() -> None:
    assert "$ref" not in json.dumps(schema("fastserve"))
