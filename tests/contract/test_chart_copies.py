"""Charts and Argo CD's settings say what their sources say: definitions, values, health scripts."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ruamel.yaml import YAML

from fastserve import __version__
from fastserve.api import crds
from helm_chart import helm

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"


@pytest.fixture(scope="module")
def chart_files() -> ModuleType:
    sys.path.insert(0, str(CHARTS))
    try:
        import chart_files
    finally:
        sys.path.remove(str(CHARTS))
    return chart_files


def test_the_plain_manifest_is_the_chart_rendered() -> None:
    done = subprocess.run(
        [sys.executable, str(CHARTS / "plain_manifest.py"), "--check"],
        env={**os.environ, "PATH": f"{Path(helm()).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"run `make manifest`\n{done.stdout}{done.stderr}"


def test_every_copy_is_the_one_that_is_checked_in(chart_files: ModuleType) -> None:
    assert chart_files.main(["--check"]) == 0


def test_a_copy_that_differs_fails_with_the_difference(
    chart_files: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {tmp_path / path.name: text for path, text in chart_files.generated().items()}
    assert chart_files.write_or_compare(changed, mode="compare") == 1
    assert "+appVersion:" in capsys.readouterr().out


def test_the_copy_inside_the_chart_has_every_file_of_the_original_and_no_other() -> None:
    def files(folder: Path) -> dict[str, str]:
        found = (file for file in folder.rglob("*") if file.is_file() and file.name != "README.md")
        return {str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in found}

    assert files(CHARTS / "fastserve" / "charts" / "fastserve-crds") == files(CHARTS / "fastserve-crds")


def test_a_definition_that_helm_would_take_for_a_template_is_refused(
    chart_files: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        crds, "render", lambda: {"x.fastserve.io.yaml": "  name: x.fastserve.io\n# {{ x }}\n"}
    )
    with pytest.raises(ValueError, match=r"x\.fastserve\.io\.yaml.*rendered by Helm"):
        chart_files.crd_templates()


@pytest.mark.parametrize("chart", ["fastserve", "fastserve-crds"])
def test_a_chart_has_the_version_of_the_package(chart: str) -> None:
    told = YAML(typ="safe").load((CHARTS / chart / "Chart.yaml").read_text(encoding="utf-8"))
    assert (told["version"], told["appVersion"]) == (__version__, __version__)
    for dependency in told.get("dependencies", []):
        assert dependency["version"] == __version__
        assert dependency["repository"].startswith("file://"), "charts download nothing"
