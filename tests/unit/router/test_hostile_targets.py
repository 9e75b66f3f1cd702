"""A target has one path or none."""

import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.answers import Refusal
from fastserve.router.targets import path_of

PIECES = (
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2F",
    "%41",
    "%",
    "%zz",
    ";",
    "\\",
    "?",
    "#",
    "@",
    "v2",
    "http://a",
    "\x00",
)
TARGETS = st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(PIECES)).map("".join).map(str.encode))
PLAIN_SEGMENTS = st.text(string.ascii_letters + string.digits + "-_~", min_size=1, max_size=8)


def path_or_none(target: bytes) -> str | None:
    try:
        return path_of(target)
    except Refusal:
        return None


@given(TARGETS)
def test_what_is_let_through_can_be_read_in_one_way_only(target: bytes) -> None:
    path = path_or_none(target)
    if path is None:
        return
    assert path.startswith("/")
    assert path_of(path.encode()) == path
    assert unquote(path) == path, "decoding it once more changes nothing"
    assert not {"", ".", ".."} & set(path.split("/")[1:-1])
    assert path.split("/")[-1] not in (".", "..")
    assert not set(path) & set("?#;\\%\0 ")


@given(st.lists(PLAIN_SEGMENTS, min_size=1), st.data())
def test_escaping_what_needs_no_escape_changes_nothing(segments: list[str], data: st.DataObject) -> None:
    plain = "/" + "/".join(segments)
    forms = [(one, f"%{ord(one):02x}", f"%{ord(one):02X}") if one != "/" else ("/",) for one in plain]
    escaped = "".join(data.draw(st.sampled_from(form)) for form in forms)

    assert path_of(escaped.encode()) == plain
    assert path_of(b"HTTP://a:1" + escaped.encode() + b"?a=/../%00") == plain


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://a", "/"), (b"https://a?b", "/"), (b"/", "/"), (b"/a.b/c..d", "/a.b/c..d")]
)
def test_a_target_without_tricks_keeps_its_path(target: bytes, path: str) -> None:
    assert path_of(target) == path
