"""What a fetching process tells is counted so that it never goes back."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.routes import Target
from fastserve.fetching.progress import Fetched, Step
from fastserve.router.fetch_child import FetchChild
from fastserve.router.model_files import ModelPlaces, files_of
from wiring.router.router_world import member_document

ARCHIVE = 1000


def child(tmp_path) -> FetchChild:
    document = member_document("banking", "one")["target"] | {"storageUri": "https://models.example/one.tar"}
    target = Target.model_validate(document)
    places = ModelPlaces(tmp_path, tmp_path)
    return FetchChild(target, files_of(target, places), places)


def told(one: FetchChild, *steps: Step | Fetched) -> list[tuple[int, int]]:
    seen = []
    for step in steps:
        one._take(msgspec.json.encode(step))
        seen.append((one.bytes_done, one.bytes_total))
    return seen


def test_unpacking_counts_on_top_of_the_archive(tmp_path) -> None:
    steps = (
        Step("Fetching", 400, ARCHIVE),
        Step("Fetching", ARCHIVE, ARCHIVE),
        Step("Unpacking", 0, 0),
        Step("Unpacking", 700, 0),
        Fetched(1600, 1600, "etag", "sha256:00"),
    )
    assert told(child(tmp_path), *steps) == [
        (400, 1000),
        (1000, 1000),
        (1000, 1000),
        (1700, 1700),
        (1700, 1700),
    ]


def test_a_line_that_is_none_of_progress_is_passed_over(tmp_path) -> None:
    one = child(tmp_path)
    assert told(one, Step("Fetching", 400, ARCHIVE)) == [(400, ARCHIVE)]
    for line in (b"warning", b'{"phase":"\xff"}', b'{"more":' + b"[" * 60_000):
        one._take(line)
    assert (one.bytes_done, one.bytes_total) == (400, ARCHIVE)


def test_what_lay_there_already_is_told_at_the_end(tmp_path) -> None:
    assert told(child(tmp_path), Fetched(1600, 1600, "etag", "sha256:00")) == [(1600, 1600)]


@given(st.lists(st.integers(0, ARCHIVE)), st.lists(st.integers(0, 5 * ARCHIVE)))
def test_it_never_goes_back_and_never_beyond_the_total(tmp_path_factory, fetched, unpacked) -> None:
    steps = [Step("Fetching", done, ARCHIVE) for done in sorted(fetched)]
    steps += [Step("Unpacking", done, 0) for done in sorted(unpacked)]
    seen = told(child(tmp_path_factory.mktemp("models")), *steps)
    assert seen == sorted(seen)
    assert all(done <= total for done, total in seen)
