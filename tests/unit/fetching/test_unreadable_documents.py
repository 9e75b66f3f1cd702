"""Documents that others wrote may be no text, or nested without end: that is one error, told as such."""

from pathlib import Path

import pytest

from fastserve.cluster.failures import words_of
from fastserve.errors import InvalidSpec
from fastserve.fetching.marker import RESERVED, read_marker
from fastserve.fetching.registry_login import basic_of
from fastserve.fetching.request import read_request

BROKEN = pytest.mark.parametrize(
    "document", [b'{"a": "\xff"}', b"\xff", b"[" * 100_000], ids=["a byte", "only a byte", "depth"]
)


@BROKEN
def test_a_request_that_cannot_be_read_says_so(document: bytes) -> None:
    with pytest.raises(InvalidSpec, match="request"):
        read_request(document)


@BROKEN
def test_a_marker_that_cannot_be_read_is_none(document: bytes, tmp_path: Path) -> None:
    (tmp_path / RESERVED).write_bytes(document)
    assert read_marker(tmp_path) is None


@BROKEN
def test_a_registrys_credentials_that_cannot_be_read_name_the_file(document: bytes) -> None:
    with pytest.raises(InvalidSpec, match="dockerconfigjson"):
        basic_of(document.decode("utf-8", "surrogateescape"), "registry.example")


def test_a_registry_whose_name_is_none_is_passed_over() -> None:
    entries = '{"[x": {"auth": "no"}, "registry.example": {"auth": "yes"}}'
    assert basic_of(f'{{"auths": {entries}}}', "registry.example") == "yes"


@BROKEN
def test_an_api_servers_error_that_cannot_be_read_is_told_as_it_came(document: bytes) -> None:
    assert words_of(document)[:1] == document.decode("utf-8", "replace")[:1]


@pytest.mark.parametrize("document", [b"null", b"[]", b'"gone"'])
def test_an_api_servers_error_that_is_no_object_is_told_as_it_came(document: bytes) -> None:
    assert words_of(document) == document.decode()
