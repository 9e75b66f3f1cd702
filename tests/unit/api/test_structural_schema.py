"""The rules that an API server has for schemas, walked over ours."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field

from fastserve.api.crds import custom_resource_definitions, render
from fastserve.api.meta import Document
from fastserve.api.modelpool import LEGAL_METHODS, Method, ModelPool
from fastserve.api.schema import STRUCTURAL_KEYWORDS, NotStructural, structural_schema

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in custom_resource_definitions()}


def schema_of(kind: str) -> dict[str, Any]:
    return CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


NODES = [(path, node) for kind in CRDS for path, node in nodes(schema_of(kind), kind)]
everywhere = pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])


@everywhere
def test_a_node_has_one_type_and_no_other_than_structural_words(path: str, node: dict[str, Any]) -> None:
    assert isinstance(node.get("type"), str) != node.get("x-kubernetes-int-or-string", False)
    assert set(node) <= STRUCTURAL_KEYWORDS
    Draft202012Validator.check_schema(node)


@everywhere
def test_a_field_is_described(path: str, node: dict[str, Any]) -> None:
    # An API server refuses a description of metadata.
    if not path.endswith(("[]", ".metadata")):
        assert len(node["description"]) > 5
        assert "\n" not in node["description"]


@everywhere
def test_a_default_is_right_by_its_own_schema(path: str, node: dict[str, Any]) -> None:
    if "default" in node:
        assert ".status" not in path
        Draft202012Validator(node).validate(node["default"])


@everywhere
def test_what_rules_read_is_bounded(path: str, node: dict[str, Any]) -> None:
    text = node.get("type", "string") == "string"
    if ".spec" in path and text and "enum" not in node:
        assert "maxLength" in node
    if "additionalProperties" in node:
        assert "maxProperties" in node
    if node.get("type") == "array":
        assert "maxItems" in node
        assert node["x-kubernetes-list-type"] in {"atomic", "map"}


@everywhere
def test_a_list_of_named_things_is_a_map_by_required_keys(path: str, node: dict[str, Any]) -> None:
    for key in node.get("x-kubernetes-list-map-keys", []):
        assert node["x-kubernetes-list-type"] == "map"
        assert key in node["items"]["required"]


@everywhere
def test_required_fields_exist_and_have_no_default(path: str, node: dict[str, Any]) -> None:
    for name in node.get("required", []):
        assert "default" not in node["properties"][name]


@pytest.mark.parametrize("kind", list(CRDS))
def test_the_server_keeps_metadata_to_itself(kind: str) -> None:
    fields = schema_of(kind)["properties"]
    assert set(fields["metadata"]) == {"type"}
    assert set(fields["apiVersion"]) == set(fields["kind"]) == {"type", "description"}


def field_at(kind: str, dotted: str) -> dict[str, Any]:
    node = schema_of(kind)
    for name in dotted.removeprefix(".").split("."):
        node = node["properties"][name]
    return node


@pytest.mark.parametrize("kind", list(CRDS))
def test_printer_columns_show_fields_that_exist(kind: str) -> None:
    for column in CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"]
        if not path.startswith(".metadata"):
            dotted, _, inner = path.replace("[0]", '[?(@.type=="Ready")]').partition('[?(@.type=="Ready")]')
            node = field_at(kind, dotted)
            shown = node["items"]["properties"][inner[1:]] if inner else node
            assert shown["type"] == column["type"]


def test_scale_reads_and_writes_fields_that_exist_and_only_sub_models_have_it() -> None:
    scale = CRDS["SubModel"]["spec"]["versions"][0]["subresources"]["scale"]
    assert [field_at("SubModel", scale[name])["type"] for name in sorted(scale)] == [
        "string",
        "integer",
        "integer",
    ]
    assert set(CRDS["ModelPool"]["spec"]["versions"][0]["subresources"]) == {"status"}


@pytest.mark.parametrize(("kind", "short"), [("ModelPool", "fsp"), ("SubModel", "fss")])
def test_names_and_category_are_the_settled_ones(kind: str, short: str) -> None:
    spec = CRDS[kind]["spec"]
    assert (spec["group"], spec["versions"][0]["name"]) == ("fastserve.io", "v1alpha1")
    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == ([short], ["fastserve"])
    assert CRDS[kind]["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"


def rules(kind: str, dotted: str = "") -> list[str]:
    node = field_at(kind, dotted) if dotted else schema_of(kind)
    return [rule["rule"] for rule in node["x-kubernetes-validations"]]


def test_rules_stand_at_the_fields_they_speak_of() -> None:
    assert rules("SubModel", "spec.poolRef") == ["self.name == oldSelf.name"]
    assert rules("ModelPool", "spec.selection.fallback") == [
        "!has(self.type) || (self.type == 'SubModel') == has(self.subModel)"
    ]
    for kind in CRDS:
        assert rules(kind)[0] == "size(self.metadata.name) <= 40"


def test_the_rule_on_methods_names_every_method() -> None:
    [rule, _] = rules("ModelPool", "spec")
    assert set(Method) == {method for methods in LEGAL_METHODS.values() for method in methods}
    assert all(f"'{method}'" in rule for method in Method)


def test_a_block_whose_fields_all_have_defaults_is_defaulted_and_an_optional_one_is_not() -> None:
    spec = schema_of("SubModel")["properties"]["spec"]["properties"]
    assert spec["engine"]["default"] == {}
    assert "default" not in spec["gpu"]
    assert schema_of("ModelPool")["properties"]["spec"]["default"] == {}


def test_the_files_are_named_after_the_definitions() -> None:
    assert list(render()) == ["modelpools.fastserve.io.yaml", "submodels.fastserve.io.yaml"]
    assert not [line for text in render().values() for line in text.splitlines() if line != line.rstrip()]


class _Union(Document):
    either: int | str = 1


class _Exclusive(Document):
    share: Annotated[int, Field(gt=0)] = 1


class _Pair(Document):
    pair: tuple[int, str] = (1, "a")


class _List(Document):
    names: tuple[str, ...] = ()


class _Anything(Document):
    anything: Any = 1


class _Outer(Document):
    inner: _Exclusive


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_Union, r"_Union.either: \['anyOf'\] is not structural"),
        (_Exclusive, r"_Exclusive.share: \['exclusiveMinimum'\] is not structural"),
        (_Pair, r"_Pair.pair: \['prefixItems'\] is not structural"),
        (_List, r"_List.names: a list needs x-kubernetes-list-type"),
        (_Anything, "_Anything.anything: a field without a type"),
        (_Outer, r"_Outer.inner.share: \['exclusiveMinimum'\]"),
    ],
)
def test_a_field_that_no_server_takes_is_refused_by_name(model: type[Document], message: str) -> None:
    with pytest.raises(NotStructural, match=message):
        structural_schema(model)


class _Optional(Document):
    word: Literal["a"] = "a"
    """A constant."""
    maybe: Annotated[int, Field(ge=1)] | None = None
    """Perhaps."""
    texts: dict[str, str] = Field(default_factory=dict)
    """By name."""


def test_constants_optionals_and_maps_become_what_a_server_takes() -> None:
    assert structural_schema(_Optional)["properties"] == {
        "word": {"type": "string", "enum": ["a"], "default": "a", "description": "A constant."},
        "maybe": {"type": "integer", "minimum": 1, "description": "Perhaps."},
        "texts": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "By name.",
        },
    }


class _Named(Document):
    name: str


class _Blocks(Document):
    computed: _Named = Field(default_factory=lambda: _Named(name="a"))
    written: _Named = _Named(name="b")


def test_a_block_that_needs_a_field_is_not_defaulted_to_an_empty_one() -> None:
    fields = structural_schema(_Blocks)["properties"]
    assert "default" not in fields["computed"]
    assert fields["written"]["default"] == {"name": "b"}


def test_building_a_schema_changes_no_model() -> None:
    assert structural_schema(ModelPool) == structural_schema(ModelPool)
