"""The command line, as far as nothing has to run for it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fastserve.cli.app import application
from fastserve.cli.surroundings import Surroundings

POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: news}
spec: {}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: sport}
spec:
  poolRef: {name: news}
  examples: [Who won the match?]
  model: {storageUri: "file://./models/sport"}
"""


def run(*arguments: str, state: Path | None = None) -> Result:
    surroundings = Surroundings(state=str(state) if state else None)
    return CliRunner().invoke(application, arguments, obj=surroundings)


@pytest.mark.parametrize(
    "command",
    ["up", "status", "predict", "route", "logs", "down", "validate", "crds", "train", "explain"],
)
def test_every_command_teaches_itself(command: str) -> None:
    result = run(command, "--help")
    assert (result.exit_code, "Usage" in result.output) == (0, True)


def test_without_a_command_the_help_is_shown() -> None:
    assert "fastserve" in run().output


@pytest.mark.parametrize("arguments", [("status",), ("down",), ("predict", "x"), ("route", "x")])
def test_where_nothing_runs_that_is_said_with_what_to_do(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*arguments, state=tmp_path)
    assert (result.exit_code, "Nothing runs here" in result.stderr) == (1, True)


def test_valid_files_are_told_with_their_members(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text(POOL)
    result = run("validate", "-f", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "news: valid; sub-models: sport\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("examples:", "exampels:", "did you mean examples?"),
        ("{name: news}\n  ex", "{name: nws}\n  ex", "news"),
        ("spec: {}", "spec: {selection: {topK: many}}", "spec.selection.topK"),
        ("kind: SubModel", "kind: SubModle", "SubModel"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(POOL.replace(old, new))
    result = run("validate", "-f", str(file))
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert words in result.stderr


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    assert "no such file or folder" in run("validate", "-f", str(tmp_path / "x.yaml")).stderr
    assert "No *.yaml file in" in run("validate", "-f", str(tmp_path)).stderr


def test_the_crds_are_printed_as_one_stream() -> None:
    printed = run("crds").stdout
    assert printed.count("kind: CustomResourceDefinition") == 2
