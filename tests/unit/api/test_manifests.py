from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.manifests import ManifestErrors, check_set, parse, resolve_uris
from fastserve.api.modelpool import Policy
from fastserve.api.submodel import Delivery
from make import sub_model

POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata:
  name: news
spec:
"""
MEMBER = """\
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata:
  name: world
spec:
  poolRef: {name: news}
  examples: [a text]
  model: {storageUri: "file://./models/world"}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestErrors) as caught:
        parse(text, "pool.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_file_of_several_documents_becomes_pools_and_sub_models() -> None:
    read = parse(POOL + "  selection: {policy: Best}\n---\n" + MEMBER + "---\n", "pool.yaml")
    assert [pool.spec.selection.policy for pool in read.pools] == [Policy.BEST]
    assert [member.metadata.name for member in read.sub_models] == ["world"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("selection: {topk: 2}", "spec.selection.topk: unknown field; did you mean topK?"),
        ("selection: {top_k: 2}", "spec.selection.top_k: unknown field; did you mean topK?"),
        (
            "selection: {zzz: 2}",
            "spec.selection.zzz: unknown field; allowed: topK, minScore, policy, maxTokens, fallback",
        ),
        (
            "selection: {topK: two}",
            'spec.selection.topK: found "two" (text); allowed: a whole number, 1 to 16',
        ),
        (
            "selection: {topK: '2'}",
            'spec.selection.topK: found "2" (text); allowed: a whole number, 1 to 16',
        ),
        (
            "selection: {topK: true}",
            "spec.selection.topK: found true (true or false); allowed: a whole number, 1 to 16",
        ),
        (
            "selection: {topK: 2.5}",
            "spec.selection.topK: found 2.5 (a number); allowed: a whole number, 1 to 16",
        ),
        (
            "selection: {topK: 0}",
            "spec.selection.topK: found 0 (a number); allowed: a whole number, 1 to 16",
        ),
        (
            "selection: {topK: [2]}",
            "spec.selection.topK: found a list; allowed: a whole number, 1 to 16",
        ),
        ("selection: 3", "spec.selection: found 3 (a number); allowed: a block of fields"),
        ("selection:", "spec.selection: found nothing; allowed: a block of fields"),
        (
            "selection: {minScore: 0.35}",
            (
                "spec.selection.minScore: found 0.35 (a number); allowed: a decimal from 0 to 1"
                ' written as text, at most 8 characters, in quotes: "0.35"'
            ),
        ),
        (
            "selection: {policy: similarity}",
            (
                'spec.selection.policy: found "similarity" (text); allowed: one of Similarity, Uniform, Best;'
                " did you mean Similarity?"
            ),
        ),
        (
            "selection: {fallback: {type: SubModel}}",
            "spec.selection.fallback: subModel is required with type SubModel, and only there",
        ),
        (
            "task: Embedding\n  combination: {method: Vote}",
            "spec: combination.method Vote does not fit task Embedding; allowed: WeightedMean, Best",
        ),
        (
            "combination: {minMembers: 3}",
            "spec: combination.minMembers 3 is more than selection.topK 2: no request could ever be answered",
        ),
    ],
)
def test_a_pools_fault_names_line_field_and_what_is_allowed(line: str, message: str) -> None:
    [problem] = problems_of(f"{POOL}  {line}\n")
    expected_line = 5 if message.startswith("spec: ") else 6
    assert problem == f"pool.yaml:{expected_line}: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: world",
            "name: World",
            (
                '4: metadata.name: found "World" (text); allowed: lower-case letters, digits'
                " and '-' inside, 1 to 40 characters"
            ),
        ),
        ("  name: world", "  labels: {a: 1}\n  name: world", "4: metadata.labels.a: found 1 (a number)"),
        ("poolRef: {name: news}", "poolRef: {}", "6: spec.poolRef.name: required, but not there"),
        (
            "  poolRef: {name: news}\n",
            "",
            "5: spec.poolRef: required, but not there; a block of fields: The pool",
        ),
        ("[a text]", "[]", "5: spec: examples or examplesFrom is required"),
        ("[a text]", "[a, 3]", "7: spec.examples[1]: found 3 (a number); allowed: text"),
        ("file://./models", "ftp://models", "8: spec.model.storageUri: found"),
        (
            'model: {storageUri: "file://./models/world"}',
            (
                'model: {storageUri: "file:///x"}\n  parallelism: {tensor: 2}\n'
                "  gpu: {resourceName: nvidia.com/mig-1g.5gb}"
            ),
            "5: spec: parallelism.tensor 2 needs whole GPUs",
        ),
        (
            "kind: SubModel",
            "kind: Submodel",
            '2: kind: found "Submodel" (text); allowed: ModelPool or SubModel;',
        ),
        ("kind: SubModel\n", "", "1: kind: required, but not there; allowed: ModelPool or SubModel"),
        ("v1alpha1", "v1", '1: apiVersion: found "fastserve.io/v1" (text); allowed: fastserve.io/v1alpha1'),
        ("kind: SubModel", "kind: [SubModel]", "2: kind: found a list; allowed: ModelPool or SubModel"),
    ],
)
def test_a_sub_models_fault_names_line_field_and_what_is_allowed(old: str, new: str, message: str) -> None:
    assert old in MEMBER
    [problem] = problems_of(MEMBER.replace(old, new))
    assert problem.startswith(f"pool.yaml:{message}")


IMAGE, DIGEST = "storageUri: 'oci://r.example/a:1', delivery: ImageVolume", "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("storageUri: 's3://bucket/a', delivery: ImageVolume", "takes an oci:// URI"),
        ("storageUri: 'oci://registry/a:1', delivery: ImageVolume", "a dot or a port in its name"),
        (f"{IMAGE}, credentials: {{secretName: s}}", "pulls, with podTemplate.imagePullSecrets"),
        (f"{IMAGE}, digest: '{DIGEST}'", "digest must be the one in storageUri, as @sha256:DIGEST"),
    ],
)
def test_an_image_volume_has_nothing_that_only_a_fetch_could_heed(model: str, message: str) -> None:
    [problem] = problems_of(MEMBER.replace('storageUri: "file://./models/world"', model))
    assert problem.startswith("pool.yaml:8: spec.model: ")
    assert message in problem


@pytest.mark.parametrize(
    "model",
    [
        IMAGE,
        "storageUri: 'oci://localhost/a:1', delivery: ImageVolume",
        "storageUri: 'oci://r:5000/a:1', delivery: ImageVolume",
        f"storageUri: 'oci://r.example/a@{DIGEST}', digest: '{DIGEST}', delivery: ImageVolume",
    ],
)
def test_an_image_volume_names_its_image_by_tag_or_digest(model: str) -> None:
    read = parse(MEMBER.replace('storageUri: "file://./models/world"', model), "pool.yaml")
    assert [one.spec.model.delivery for one in read.sub_models] == [Delivery.IMAGE_VOLUME]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: nothing is written here"),
        ("# later\n", "1: nothing is written here"),
        ("- 1\n", "1: found a list; expected a document with apiVersion"),
        ("a: [1\nb: 2\n", "2: not YAML: while parsing a flow sequence expected ',' or ']', but got ':'"),
        ("\n\ta: 1\n", "2: not YAML: while scanning for the next token found character '\\t'"),
        ("a: 1\nb: \x07\n", "2: not YAML: a control character"),
        ("a: *nowhere\n", "1: not YAML: found undefined alias 'nowhere'"),
        ("a: !!python/object:os.system {}\n", "1: kind: required"),
        ("a: !secret x\n", "1: a: the tag !secret is not supported"),
        ("? [a]\n: 1\n", "1: a key must be a word"),
        ('a: "\\ud800"', "1: a: half a surrogate pair is no text"),
        ('"\\udc00": 1', "1: half a surrogate pair is no text"),
        ("a: " + "1" * 5000, "1: a: 11111111111111111111 is no int"),
        ("a: !!bool x", "1: a: x is no bool"),
        ("[" * 3000, "1: nested over"),
    ],
)
def test_what_is_no_document_is_said_with_its_line(text: str, message: str) -> None:
    assert any(problem.startswith(f"pool.yaml:{message}") for problem in problems_of(text))


def test_a_key_written_twice_names_both_lines() -> None:
    assert problems_of(MEMBER + "  examples: [b]\n") == [
        "pool.yaml:9: spec.examples: written twice, first in line 7"
    ]


def test_all_problems_of_a_file_are_told_at_once_with_their_lines() -> None:
    text = (
        f"{POOL}  bananas: 1\n  router: {{limits: {{maxQueue: 0}}}}\n---\n{MEMBER}  replicas: -1\n---\na: [\n"
    )
    assert [problem.split(": ")[:2] for problem in problems_of(text)] == [
        ["pool.yaml:6", "spec.bananas"],
        ["pool.yaml:7", "spec.router.limits.maxQueue"],
        ["pool.yaml:17", "spec.replicas"],
        ["pool.yaml:20", "not YAML"],
    ]


def test_an_alias_stands_for_what_it_names() -> None:
    text = MEMBER.replace("examples: [a text]", "examples: &texts [a text]\n  description: *word")
    [problem] = problems_of(text)
    assert "undefined alias 'word'" in problem
    shared = POOL + "  selection: &same {topK: 3}\n---\n" + MEMBER
    assert parse(shared, "pool.yaml").pools[0].spec.selection.top_k == 3


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: &z {b: *z}", "pool.yaml:1: a.b.b.b"),
        (
            "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30))]),
            "pool.yaml:1: a14[",
        ),
    ],
    ids=["endless", "exponential"],
)
def test_aliases_cannot_blow_a_document_up(text: str, place: str) -> None:
    [problem] = problems_of(text)
    assert problem.startswith(place)
    assert "nested over" in problem


def test_an_unquoted_date_is_text_as_it_is_to_kubernetes() -> None:
    read = parse(MEMBER.replace('world"}', 'world", version: 2025-01-31}'), "pool.yaml")
    assert read.sub_models[0].spec.model.version == "2025-01-31"


@given(st.text(max_size=80))
def test_text_that_is_no_document_of_ours_is_problems(text: str) -> None:
    with pytest.raises(ManifestErrors) as caught:
        parse(text, "any.yaml")
    assert caught.value.problems
    assert all(problem.line >= 1 for problem in caught.value.problems)


def test_two_documents_of_one_name_name_both_places() -> None:
    first, second = (
        parse(f"{POOL}---\n{MEMBER}".replace("spec:\n---", "---"), "a.yaml"),
        parse(MEMBER, "b.yaml"),
    )
    assert [str(problem) for problem in check_set([first, second])] == [
        "b.yaml:4: metadata.name: a SubModel named world is written already, at a.yaml:9"
    ]


def test_a_pool_reference_to_nobody_names_the_pools() -> None:
    files = [
        parse(POOL.replace("spec:\n", ""), "pool.yaml"),
        parse(MEMBER.replace("name: news", "name: newz"), "b.yaml"),
        parse(MEMBER.replace("world", "sport"), "c.yaml"),
    ]
    assert [str(problem) for problem in check_set(files)] == [
        "b.yaml:6: spec.poolRef.name: no ModelPool is named newz; the pools are: news; did you mean news?"
    ]


def test_sub_models_without_any_pool_and_pools_without_sub_models_are_problems() -> None:
    assert [p.message for p in check_set([parse(MEMBER, "a.yaml")])] == [
        "no ModelPool is named news; there is no pool"
    ]
    [alone] = check_set([parse(POOL.replace("spec:\n", ""), "a.yaml")])
    assert (alone.line, alone.message) == (4, "no SubModel names the pool news in its poolRef")


def test_a_pool_of_another_namespace_is_another_pool() -> None:
    elsewhere = parse(
        POOL.replace("name: news", "name: news\n  namespace: far").replace("spec:\n", ""), "a.yaml"
    )
    paths = [problem.path for problem in check_set([elsewhere, parse(MEMBER, "b.yaml")])]
    assert paths == ["metadata.name", "spec.poolRef.name"]


def test_a_fallback_to_nobody_names_the_sub_models() -> None:
    pool = parse(POOL + "  selection:\n    fallback: {type: SubModel, subModel: word}\n", "a.yaml")
    assert [str(problem) for problem in check_set([pool, parse(MEMBER, "b.yaml")])] == [
        (
            "a.yaml:7: spec.selection.fallback.subModel: word is no sub-model of this pool;"
            " its sub-models are: world; did you mean world?"
        )
    ]


def test_a_set_that_is_right_has_no_problems() -> None:
    assert check_set([parse(POOL.replace("spec:\n", ""), "a.yaml"), parse(MEMBER, "b.yaml")]) == ()


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("file://./models/x", "file:///srv/a%20b/models/x"),
        ("file://models/x", "file:///srv/a%20b/models/x"),
        ("file://../models/x/", "file:///srv/models/x"),
        ("file:///models/x", "file:///models/x"),
    ],
)
def test_uris_are_relative_to_the_folder_of_the_yaml_file(uri: str, absolute: str) -> None:
    member = sub_model(model={"storageUri": uri}, examplesFrom={"storageUri": uri})
    resolved = resolve_uris(member, "/srv/a b")
    assert resolved.spec.model.storage_uri == absolute
    assert resolved.spec.examples_from is not None
    assert resolved.spec.examples_from.storage_uri == absolute
    assert member.spec.model.storage_uri == uri


def test_uris_are_not_resolved_against_a_relative_folder() -> None:
    with pytest.raises(ValueError, match="'models' is not absolute"):
        resolve_uris(sub_model(), "models")


def test_the_text_of_the_error_is_one_line_for_each_problem() -> None:
    with pytest.raises(ManifestErrors, match=r"^a.yaml:1: apiVersion: .*\na.yaml:1: kind: .*$") as caught:
        parse(dedent("x: 1"), "a.yaml")
    assert caught.value.reason == "InvalidManifest"
