"""Debian's package is unpacked, never installed. Here apt-get and dpkg-deb are scripts that do as they do."""

from pathlib import Path

import pytest

from cluster import __main__ as command
from cluster import packages
from cluster.places import Places

APT = """#!/bin/sh
echo "$@" >> {log}
test "$1" = update && touch {folder}/lists && exit 0
test "$1" = download && test -e {folder}/lists && touch prometheus_2_amd64.deb
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin" && printf '#!/bin/sh' > "$3/usr/bin/prometheus" && chmod +x "$3/usr/bin/prometheus"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What apt-get was told; it has no lists before an update."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    log.touch()
    for name, text in (("apt-get", APT.format(log=log, folder=tmp_path)), ("dpkg-deb", DPKG)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    for name in ("sh", "touch", "mkdir", "chmod", "printf", "test"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return log


def test_it_is_unpacked_into_the_cache_once(log: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found = packages.ensure_prometheus(cache)
    assert found == cache / "prometheus" / "usr" / "bin" / "prometheus"
    told = log.read_text()
    assert told.splitlines() == ["download -q prometheus", "update -q", "download -q prometheus"]
    assert [one.name for one in cache.iterdir()] == ["prometheus"]
    assert packages.ensure_prometheus(cache) == found
    assert log.read_text() == told


def test_the_one_on_the_path_is_taken(log: Path, tmp_path: Path) -> None:
    there = tmp_path / "bin" / "prometheus"
    there.write_text("#!/bin/sh\n")
    there.chmod(0o755)
    assert packages.ensure_prometheus(tmp_path / "cache") == there
    assert log.read_text() == ""


def test_without_a_package_or_without_debian_it_is_said_and_none_is_there(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin" / "dpkg-deb").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    assert packages.ensure_prometheus(tmp_path / "cache") is None
    assert "broken" in capsys.readouterr().out
    (tmp_path / "bin" / "apt-get").unlink()
    assert packages.ensure_prometheus(tmp_path / "cache") is None
    assert "neither on PATH nor to be had from Debian" in capsys.readouterr().out


def test_the_command_programs_fetches_it(log: Path, tmp_path: Path) -> None:
    command._build(Places(tmp_path / "cache", tmp_path / "state"), ["prometheus"])
    assert packages.find_prometheus(tmp_path / "cache") is not None
