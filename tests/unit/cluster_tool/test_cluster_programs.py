from pathlib import Path

import pytest

from cluster import __main__ as command
from cluster import binaries
from cluster.places import Places


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was built; nothing is on PATH."""
    names: list[str] = []

    def build(binary: binaries.Binary, path: Path) -> float:
        names.append(binary.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return 1.0

    monkeypatch.setattr(binaries, "_build", build)
    monkeypatch.setattr(command.shutil, "which", lambda _name: None)
    return names


def test_only_the_programs_that_are_named_are_built(
    built: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_go", lambda: Path("go"))
    places = Places(tmp_path / "cache", tmp_path / "state")
    command._build(places, ["helm"])
    command._build(places, ["helm"])
    assert built == ["helm"]
    assert (places.programs / "helm").exists()


def test_without_go_nothing_is_built_and_it_says_so(
    built: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_go", lambda: None)
    command._build(Places(tmp_path / "cache", tmp_path / "state"), ["helm"])
    assert built == []
    assert "helm: neither on PATH nor to be built without Go" in capsys.readouterr().out
