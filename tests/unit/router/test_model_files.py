"""Where a version's files lie, what it is called, and which folders nobody needs."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from fastserve.api.identity import image_folder
from fastserve.api.routes import EngineTarget, Target
from fastserve.errors import CheckpointError, CheckpointMissing, DigestMismatch, InvalidSpec
from fastserve.fetching.marker import StoredFile, listing_digest
from fastserve.router.model_files import (
    ModelFiles,
    ModelPlaces,
    check_mounted,
    discard,
    fetch_key,
    files_of,
    folder_digest,
    leftovers,
    unused,
    version_of,
)

PLACES = ModelPlaces(Path("/run"), Path("/models"), None, Path("/claims"), Path("/images"))
IMAGE = "r.example/models/news:1"


def target(uri: str = "hf://owner/model", **changes: object) -> Target:
    fields = {
        "digest": "d" * 64,
        "model_name": "a-dddddddd",
        "version": "",
        "storage_uri": uri,
        "files": {},
        "engine": EngineTarget(devices=("cpu",), python="python3"),
        **changes,
    }
    return Target(**fields)


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///data/a%20b", "/data/a b"),
        ("pvc://weights/news/v1", "/claims/weights/news/v1"),
        ("pvc://weights", "/claims/weights"),
    ],
)
def test_what_is_mounted_or_local_is_not_copied(uri: str, folder: str) -> None:
    files = files_of(target(uri), PLACES)

    assert (str(files.folder), files.key, files.there) == (folder, "", True)


def test_a_link_on_a_claim_may_lead_to_anywhere_on_it() -> None:
    assert files_of(target("pvc://weights/a/b"), PLACES).root == Path("/claims/weights")


def test_a_claim_without_the_folder_says_so_by_the_uri(tmp_path: Path) -> None:
    absent = target("pvc://weights/news/v1")
    files = files_of(absent, ModelPlaces(tmp_path, claims=tmp_path))
    with pytest.raises(
        CheckpointMissing, match=r"^pvc://weights/news/v1: there is no folder news/v1 on the claim weights$"
    ):
        check_mounted(absent, files)
    files.folder.mkdir(parents=True)
    check_mounted(absent, files)


def test_an_image_volume_is_read_where_it_is_mounted_whatever_its_digest() -> None:
    uri = f"oci://r.example/news@sha256:{'0' * 64}"
    image = uri.removeprefix("oci://")
    files = files_of(target(uri, image=image, expected_digest="sha256:" + "0" * 64), PLACES)
    assert files == ModelFiles(folder := Path("/images") / image_folder(image), folder, mounted=True)
    assert files.there


def test_another_image_is_not_taken_for_the_one_that_is_wanted(tmp_path: Path) -> None:
    places = ModelPlaces(tmp_path, images=tmp_path)
    wanted, other = (target(f"oci://{IMAGE}{end}", image=f"{IMAGE}{end}") for end in ("", "0"))
    files_of(other, places).folder.mkdir()
    check_mounted(other, files_of(other, places))
    with pytest.raises(
        CheckpointMissing, match=rf"^image {IMAGE} is not mounted in this pod: .* 1\.33 .* Fetch"
    ):
        check_mounted(wanted, files_of(wanted, places))


def test_an_image_is_not_taken_from_a_router_that_has_no_place_for_one() -> None:
    with pytest.raises(InvalidSpec, match=r"no place for an image volume \(allowed: Fetch\)"):
        files_of(target(f"oci://{IMAGE}", image=IMAGE), ModelPlaces(Path("/run"), Path("/models")))


def test_a_folder_on_a_claim_must_be_what_was_promised(tmp_path: Path) -> None:
    places = ModelPlaces(tmp_path, claims=tmp_path)
    folder = files_of(target("pvc://weights/v1"), places).folder
    stored = {}
    for name in ("b/model.safetensors", "config.json", "B.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
        stored[name] = StoredFile(len(name), hashlib.sha256(name.encode()).hexdigest())
    promised = target("pvc://weights/v1", expected_digest=listing_digest(stored))
    check_mounted(promised, files_of(promised, places))

    (folder / "config.json").write_text("another")
    with pytest.raises(DigestMismatch, match=r"^pvc://weights/v1 has sha256:[0-9a-f]{64}, asked for was "):
        check_mounted(promised, files_of(promised, places))


def test_what_is_fetched_has_a_folder_for_each_uri_version_and_digest(tmp_path: Path) -> None:
    places = ModelPlaces(tmp_path, tmp_path)
    files = files_of(target(), places)
    assert files.folder == tmp_path / fetch_key(target())
    assert not files.there
    files.folder.mkdir()
    assert files.there

    keys = {
        fetch_key(one)
        for one in (
            target(),
            target("hf://owner/other"),
            target(version="v2"),
            target(expected_digest="sha256:" + "0" * 64),
            target(digest="e" * 64),
        )
    }
    assert len(keys) == 4
    assert {len(key) for key in keys} == {16}


@pytest.mark.parametrize(
    ("uri", "places", "fault"),
    [
        ("hf://owner/model", ModelPlaces(Path("/run")), r"no place for hf:// \(allowed: file://\)"),
        ("pvc://weights/a", ModelPlaces(Path("/run"), Path("/models")), "no place for pvc://"),
        ("ftp://a/b", PLACES, "has no scheme that FastServe knows"),
    ],
)
def test_a_uri_that_leads_nowhere_here_is_refused(uri: str, places: ModelPlaces, fault: str) -> None:
    with pytest.raises(InvalidSpec, match=fault):
        files_of(target(uri), places)


def test_the_version_is_the_users_name_or_the_folders_digest_or_the_targets(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path, tmp_path)
    assert version_of(target(), files) == "d" * 12
    for broken in ("{}", "[]", "no JSON", '{"digest": 3}', '{"digest": ""}'):
        (tmp_path / "fastserve.json").write_text(broken)
        assert version_of(target(), files) == "d" * 12
    (tmp_path / "fastserve.json").write_text(json.dumps({"digest": "0123456789abcdef"}))
    assert version_of(target(), files) == "0123456789ab"
    assert version_of(target(version="2026-01"), files) == "2026-01"


def test_folders_of_other_versions_are_left_over_whole_or_not(tmp_path: Path) -> None:
    for name in ("mine", "mine.partial", "other", "other.partial"):
        (tmp_path / name).mkdir()

    assert leftovers(tmp_path, "mine") == {"other", "other.partial"}
    assert leftovers(tmp_path / "none", "mine") == leftovers(None, "") == frozenset()


@pytest.mark.parametrize(
    "record", ["[" * 100_000, json.dumps({"digest": "a" * (2 << 20)})], ids=["deep", "big"]
)
def test_a_record_that_would_break_its_reader_names_no_version(tmp_path: Path, record: str) -> None:
    (tmp_path / "fastserve.json").write_text(record)
    assert version_of(target(), ModelFiles(tmp_path, tmp_path)) == "d" * 12


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fastserve.json")
    assert version_of(target(), ModelFiles(tmp_path, tmp_path)) == "d" * 12


def test_no_digest_covers_a_folder_behind_a_link(tmp_path: Path) -> None:
    """Triton would take it for a version, and the newest is the one that serves."""
    places = ModelPlaces(tmp_path, claims=tmp_path)
    folder = files_of(target("pvc://weights/v1"), places).folder
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("good")
    promised = target("pvc://weights/v1", expected_digest=folder_digest(folder))
    check_mounted(promised, files_of(promised, places))
    (tmp_path / "weights" / "other").mkdir()
    (folder / "2").symlink_to("../other")
    with pytest.raises(CheckpointError, match="2 is a link to a folder, which no digest covers"):
        check_mounted(promised, files_of(promised, places))


def test_what_is_half_discarded_does_not_look_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old" / "a").mkdir(parents=True)
    with monkeypatch.context() as killed:
        killed.setattr("fastserve.router.model_files.shutil.rmtree", lambda *_, **__: None)
        discard(tmp_path, "old")
    (left,) = leftovers(tmp_path, "old")
    assert left.endswith(".partial")
    discard(tmp_path, left)
    discard(tmp_path, "never-was")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_is_not_left_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/etc")
    assert leftovers(tmp_path, "mine") == frozenset()


def test_a_folder_is_unused_where_nothing_that_is_loaded_could_have_come_from_it() -> None:
    left = frozenset({"serving", "failed", "half.partial"})
    assert unused(left, ["serving"]) == {"failed", "half.partial"}
    assert unused(left, []) == left
    assert unused(left, ["serving", None]) == {"half.partial"}
