from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from fastserve.api.uris import STORAGE_URI_PATTERN, Source, plan_source
from fastserve.errors import InvalidSpec

DIGEST = "sha256:" + "0a" * 32
SCHEMA = TypeAdapter[str](Annotated[str, Field(pattern=STORAGE_URI_PATTERN)])

GOOD = {
    "file:///models/a b": ("file", "", "/models/a b", ""),
    "file://models/a%20b": ("file", "", "models/a b", ""),
    "file://../beside": ("file", "", "../beside", ""),
    "https://files.example/a/m.tar.gz?X-Signature=s": ("https", "files.example", "/a/m.tar.gz", ""),
    "https://[::1]:8443/m.zip": ("https", "[::1]:8443", "/m.zip", ""),
    "s3://bucket": ("s3", "bucket", "", ""),
    "s3://bucket/a/b c/": ("s3", "bucket", "a/b c", ""),
    "gs://my_bucket.example/.hidden/x": ("gs", "my_bucket.example", ".hidden/x", ""),
    "hf://owner/model": ("hf", "owner/model", "", ""),
    "hf://owner/model:v1.0": ("hf", "owner/model", "", "v1.0"),
    "hf://owner/model@refs/pr/1": ("hf", "owner/model", "", "refs/pr/1"),
    "oci://registry.example:5000/team/m:1.0": ("oci", "registry.example:5000", "team/m", "1.0"),
    f"oci://registry.example/m@{DIGEST}": ("oci", "registry.example", "m", DIGEST),
    "pvc://models": ("pvc", "models", "", ""),
    "pvc://models/news/world": ("pvc", "models", "news/world", ""),
}
BAD = [
    "",
    "models/a",
    "ftp://host/a",
    "http://host/a",
    "HTTPS://host/a",
    "file://",
    "https://host",
    "https://host/",
    "https://user:secret@host/a",
    "https://host/a#part",
    "https://host/a b",
    "https://-host/a",
    "s3://",
    "s3://Bucket/a",
    "s3://bucket/../other",
    "s3://bucket/a//b",
    "gs://b/x",
    "hf://model",
    "hf://owner/model/extra",
    "hf://owner/model:",
    "oci://registry.example/m",
    "oci://registry.example/M:1",
    "oci://registry.example/m@sha256:12",
    "pvc://claim/../other",
    "pvc://claim/a/..",
    "pvc://Claim/a",
    "pvc://claim/a\nb",
    "s3://bucket/a\n",
]


@pytest.mark.parametrize("uri", GOOD)
def test_a_good_uri_is_taken_apart_and_passes_the_schema(uri: str) -> None:
    source = plan_source(uri)
    assert (source.scheme, source.place, source.path, source.revision) == GOOD[uri]
    assert source.uri == uri
    assert SCHEMA.validate_python(uri) == uri


@pytest.mark.parametrize("uri", BAD)
def test_a_bad_uri_names_its_field_and_fails_the_schema_too(uri: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        plan_source(uri, "spec.encoder.storageUri")
    assert caught.value.field == "spec.encoder.storageUri"
    assert caught.value.allowed
    assert "secret" not in caught.value.message
    with pytest.raises(ValidationError):
        SCHEMA.validate_python(uri)


@given(st.sampled_from([*GOOD, *BAD]), st.text(max_size=8), st.integers(0, 60))
def test_the_schema_and_the_reader_judge_alike(uri: str, change: str, at: int) -> None:
    changed = uri[:at] + change + uri[at:]
    try:
        accepted = isinstance(plan_source(changed), Source)
    except InvalidSpec:
        accepted = False
    try:
        SCHEMA.validate_python(changed)
    except ValidationError:
        assert not accepted
    else:
        assert accepted


def test_a_signature_in_a_query_is_not_shown() -> None:
    assert plan_source("https://h/a.zip?sig=secret").shown == "https://h/a.zip"


def test_only_what_lies_in_a_registry_is_an_image() -> None:
    assert plan_source("oci://r.example:5000/a/b:1").image == "r.example:5000/a/b:1"
    assert plan_source("hf://owner/model:1").image == ""


def test_what_lies_on_the_machine_or_a_claim_is_not_fetched() -> None:
    assert not plan_source("pvc://models/news/world").fetched
    assert not plan_source("file:///a%20b").fetched
    assert plan_source("s3://bucket/a").fetched
