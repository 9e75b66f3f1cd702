import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from fastserve.errors import ArchiveRefused, SizeLimitExceeded
from fastserve.fetching.archives import MAX_HEADER_BYTES, MAX_HEADERS_BYTES, Unpacker
from fastserve.fetching.progress import Meter
from fastserve.fetching.remote import MAX_FILES, Unpack

LIMIT = 1 << 20


@pytest.fixture
def unpacker(tmp_path: Path) -> Unpacker:
    root = tmp_path / "destination"
    root.mkdir()
    return Unpacker(root, LIMIT, Meter(lambda line: None))


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zip_of(*entries: tuple[str, bytes], mode: int = stat.S_IFREG) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o644) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def unpack(unpacker: Unpacker, *archives: bytes, how: Unpack = "archive") -> dict[str, bytes]:
    packed = unpacker.root.parent / "packed"
    for content in archives:
        packed.write_bytes(content)
        unpacker.unpack(packed, how)
    unpacker.finish()
    packed.unlink()
    return {path: (unpacker.root / path).read_bytes() for path in unpacker.files}


GOOD = (entry("config.json", b"{}"), entry("weights/a.bin", b"abc"))
PACKERS: dict[str, Callable[[], bytes]] = {
    "tar": lambda: tar_of(*GOOD),
    "tar.gz": lambda: tar_of(*GOOD, mode="w:gz"),
    "tar.zst": lambda: zstd.compress(tar_of(*GOOD)),
    "zip": lambda: zip_of(("config.json", b"{}"), ("weights/a.bin", b"abc")),
}


@pytest.mark.parametrize("form", PACKERS)
def test_every_form_is_unpacked(unpacker: Unpacker, form: str) -> None:
    assert unpack(unpacker, PACKERS[form]()) == {"config.json": b"{}", "weights/a.bin": b"abc"}
    assert unpacker.files["weights/a.bin"].size == 3


def test_a_lone_folder_at_the_top_stands_for_the_whole(unpacker: Unpacker) -> None:
    packed = tar_of(entry("model", kind=tarfile.DIRTYPE), entry("model/a", b"1"), entry("model/b/c", b"2"))
    assert unpack(unpacker, packed) == {"a": b"1", "b/c": b"2"}


REFUSED = {
    "an absolute path in a zip": zip_of(("/etc/passwd", b"x")),
    "a path out of a tar": tar_of(entry("../out", b"x")),
    "a path out of a tar, further in": tar_of(entry("a/../../out", b"x")),
    "a path out of a zip": zip_of(("../out", b"x")),
    "a backslash in a zip": zip_of(("a\\..\\..\\out", b"x")),
    "a link out of a tar": tar_of(entry("a", kind=tarfile.SYMTYPE, link="../../out")),
    "a link to an absolute path": tar_of(entry("a", kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "a hard link out of a tar": tar_of(entry("a", kind=tarfile.LNKTYPE, link="../out")),
    "a link out of a zip": zip_of(("a", b"../../out"), mode=stat.S_IFLNK),
    "a link to nothing": tar_of(entry("a", kind=tarfile.SYMTYPE, link="b")),
    "links in a circle": tar_of(
        entry("a", kind=tarfile.SYMTYPE, link="b"), entry("b", kind=tarfile.SYMTYPE, link="a")
    ),
    "a file below a link": tar_of(
        entry("a", kind=tarfile.SYMTYPE, link="b"), entry("b/x", b"x"), entry("a/x", b"x")
    ),
    "a device": tar_of(entry("a", kind=tarfile.CHRTYPE)),
    "a pipe": tar_of(entry("a", kind=tarfile.FIFOTYPE)),
    "a file that is a folder too": tar_of(entry("a/b", b"x"), entry("a", b"x")),
    "a file below a file": tar_of(entry("a", b"x"), entry("a/b", b"x")),
    "the marker's own name": tar_of(entry(".fastserve-source.json", b"{}")),
    "half an archive": tar_of(*GOOD, mode="w:gz")[:60],
    "no archive": b"certainly no archive" * 100,
    "a zip without its end": zip_of(("a", b"x" * 1000))[:-30],
    "a header that is too long": tar_of(entry("a", b"x" * (MAX_HEADER_BYTES + 1), kind=tarfile.XHDTYPE)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_do_harm_is_refused_and_writes_nothing_outside(unpacker: Unpacker, what: str) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(unpacker, REFUSED[what])
    assert {path.name for path in unpacker.root.parent.iterdir()} <= {"packed", "destination"}
    assert not [path for path in unpacker.root.rglob("*") if path.is_symlink()]


def test_an_absolute_path_in_a_tar_lands_inside(unpacker: Unpacker) -> None:
    """tarfile's data filter strips the slash, as tar does."""
    assert unpack(unpacker, tar_of(entry("/etc/a", b"x"), entry("b", b"y"))) == {"etc/a": b"x", "b": b"y"}


def test_a_link_inside_becomes_a_second_name(unpacker: Unpacker) -> None:
    packed = tar_of(
        entry("blobs/1", b"weights"),
        entry("model.bin", kind=tarfile.SYMTYPE, link="again"),
        entry("again", kind=tarfile.SYMTYPE, link="blobs/1"),
        entry("hard", kind=tarfile.LNKTYPE, link="blobs/1"),
    )
    files = unpack(unpacker, packed)
    assert files == dict.fromkeys(("blobs/1", "model.bin", "again", "hard"), b"weights")
    assert not [path for path in unpacker.root.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    "packed",
    [
        tar_of(entry("a", bytes(LIMIT + 1)), mode="w:gz"),
        tar_of(entry("a", bytes(LIMIT // 2)), entry("b", bytes(LIMIT // 2 + 1)), mode="w:gz"),
        zip_of(("a", bytes(LIMIT + 1))),
        zstd.compress(tar_of(entry("a", bytes(LIMIT + 1)))),
    ],
    ids=["tar", "two files", "zip", "zstd"],
)
def test_a_bomb_is_stopped_at_the_limit(unpacker: Unpacker, packed: bytes) -> None:
    assert len(packed) < LIMIT / 100
    with pytest.raises(SizeLimitExceeded):
        unpack(unpacker, packed)
    assert sum(path.stat().st_size for path in unpacker.root.rglob("*")) <= LIMIT


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_hundred_thousand_entries_are_refused_early(unpacker: Unpacker, form: str) -> None:
    count = 100_000
    if form == "tar":
        packed = tar_of(*(entry(f"{number}", kind=tarfile.DIRTYPE) for number in range(count)), mode="w:gz")
    else:
        packed = zip_of(*((f"{number}/", b"") for number in range(count)))
    with pytest.raises(ArchiveRefused, match=str(MAX_FILES)):
        unpack(unpacker, packed)
    assert not list(unpacker.root.iterdir())


def test_layers_lie_over_each_other(unpacker: Unpacker) -> None:
    lower = tar_of(entry("models/a", b"1"), entry("models/b", b"2"), entry("old/c", b"3"), entry("top", b"4"))
    upper = tar_of(entry("models/.wh.b"), entry("old/.wh..wh..opq"), entry("models/a", b"new"))
    assert unpack(unpacker, lower, upper, how="layer") == {"models/a": b"new", "top": b"4"}


def test_an_upper_layer_cannot_delete_outside(unpacker: Unpacker) -> None:
    (unpacker.root.parent / "kept").write_text("kept")
    with pytest.raises(ArchiveRefused):
        unpack(unpacker, tar_of(entry("../.wh.kept")), how="layer")
    assert (unpacker.root.parent / "kept").exists()


def pax_tar(headers: dict[str, str], *contents: bytes) -> bytes:
    """A tar whose file has pax headers of ours, and contents as they stand."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"file-{number}")
            info.size, info.pax_headers = len(content), headers
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_a_map_of_a_sparse_file_is_not_read(unpacker: Unpacker) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    with pytest.raises(ArchiveRefused, match="without --sparse"):
        unpack(unpacker, pax_tar(headers, b"1000000\n" + b"1\n" * 2_000_000))


def test_many_long_headers_are_refused_though_each_is_allowed(unpacker: Unpacker) -> None:
    headers = {"comment": "x" * (MAX_HEADER_BYTES - 100)}
    with pytest.raises(ArchiveRefused, match="headers are too long"):
        unpack(unpacker, pax_tar(headers, *[b""] * (MAX_HEADERS_BYTES // MAX_HEADER_BYTES + 2)))


def test_a_zip_with_an_endless_directory_is_refused_before_it_is_read(
    unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastserve.fetching.archives.MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(ArchiveRefused, match="directory is too long"):
        unpack(unpacker, zip_of(*((f"file-{number}", b"") for number in range(10))))


@pytest.mark.parametrize("mode", ["w:xz", "w:bz2"])
def test_forms_that_nobody_promised_are_refused(unpacker: Unpacker, mode: str) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(unpacker, tar_of(*GOOD, mode=mode))


@pytest.mark.parametrize(
    "name", ["m/.fastserve-source.json", "m/" + "x" * 300, "m/\udcff"], ids=["marker", "long", "bytes"]
)
def test_names_that_no_folder_could_hold_are_refused(unpacker: Unpacker, name: str) -> None:
    with pytest.raises(ArchiveRefused, match="which no model may have"):
        unpack(unpacker, tar_of(entry(name, b"1"), mode="w"))


def test_a_python_without_tarfiles_filters_unpacks_too(
    unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Debian 12's own Python is 3.11.2; the filters came with 3.11.4.
    monkeypatch.delattr(tarfile, "data_filter")
    assert unpack(unpacker, tar_of(entry("config.json", b"{}"))) == {"config.json": b"{}"}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_what_is_neither_file_nor_folder_is_refused(unpacker: Unpacker, kind: bytes) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(unpacker, tar_of(entry("device", kind=kind)))


@pytest.mark.parametrize("link", ["/etc/passwd", "../../outside"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_no_link_of_a_tar_leads_out(unpacker: Unpacker, kind: bytes, link: str) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(unpacker, tar_of(entry("link", kind=kind, link=link)))
