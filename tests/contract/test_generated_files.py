from pathlib import Path

import pytest

from fastserve.api import crds, reference

ROOT = Path(__file__).parents[2]


def test_the_definitions_are_those_that_are_checked_in() -> None:
    assert crds.main(["--check", "--output", str(ROOT / "crds")]) == 0
    assert sorted(file.name for file in (ROOT / "crds").iterdir()) == sorted(crds.render())


def test_the_page_of_fields_is_the_one_that_is_checked_in() -> None:
    assert reference.main(["--check", "--output", str(ROOT / reference.PAGE)]) == 0


@pytest.mark.parametrize("change", ["edited", "missing"])
def test_a_definition_that_differs_fails_with_the_difference(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crds.main(["--output", str(tmp_path)]) == 0
    file = tmp_path / "submodels.fastserve.io.yaml"
    if change == "edited":
        file.write_text(file.read_text().replace("- fss", "- other"))
    else:
        file.unlink()
    assert crds.main(["--check", "--output", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "+      - fss" in shown
    assert ("-      - other" in shown) == (change == "edited")
