"""What the pages for users say is so: links lead somewhere, YAML can be applied, reasons and values exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from cluster.images import ON_NODES
from fastserve import __version__, errors
from fastserve.api.manifests import parse
from fastserve.api.scaling import ScalingReason
from fastserve.planning.objects.failures import HOPELESS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in ("docs", "examples", "charts", "e2e")
    for page in (ROOT / folder).rglob("*.md")
    if "reference" not in page.relative_to(ROOT).parts
)
PAGES = [ROOT / "README.md", *PAGES]
TROUBLE = ROOT / "docs" / "status-and-troubleshooting.md"
OF_KUBERNETES = {"OOMKilled", "FailedCreate"}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def told_reasons() -> set[str]:
    """Every reason in the first column of the page's table of reasons."""
    _, _, table = TROUBLE.read_text(encoding="utf-8").partition("| reason |")
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    return {reason.strip() for row in rows for reason in row.split("|")[1].split(",") if reason.strip()}


def reasons_of_models() -> Iterator[str]:
    """Reasons of everything that can go wrong with a model where it is fetched, read or run."""
    roots = (errors.FetchError, errors.CheckpointError, errors.EngineError)
    for found in vars(errors).values():
        if isinstance(found, type) and issubclass(found, roots):
            yield found.reason


@every_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_the_yaml_of_a_page_can_be_applied(page: Path) -> None:
    for text in blocks(page, "yaml"):
        if "apiVersion: fastserve.io/" in text:
            assert parse(text, page.name).written_pools or parse(text, page.name).written_sub_models


@every_page
def test_every_file_that_a_command_names_is_there(page: Path) -> None:
    for text in blocks(page, r"console[ \w]*"):
        for name in re.findall(r"(?:examples|charts|crds|install|images)/[\w./-]*", text):
            assert (ROOT / name).exists() or "/models" in name, name


def test_every_reason_that_the_code_can_give_is_told() -> None:
    assert {*reasons_of_models(), *HOPELESS} <= told_reasons()


def test_every_reason_that_is_told_exists() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "operator").rglob("*.py"))
    assert {reason for reason in told_reasons() - OF_KUBERNETES if f'"{reason}"' not in code} == set()


def test_every_reason_of_scaling_has_a_sentence_of_its_own() -> None:
    text = (ROOT / "docs" / "autoscaling.md").read_text(encoding="utf-8")
    told = dict(
        re.findall(r"^\| ([A-Z][A-Za-z]+) \| (.+) \|$", text.partition("| reason |")[2], re.MULTILINE)
    )
    assert set(told) == set(get_args(ScalingReason))
    assert len(set(told.values())) == len(told)


def test_every_value_that_the_pages_name_is_one_of_the_charts() -> None:
    values = json.loads((ROOT / "charts" / "fastserve" / "values.schema.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| you want | value |")
    named = re.findall(r"`([a-z][A-Za-z.]+)(?::[^`]*)?`", table.partition("\n\n")[0])
    assert len(named) > 5
    for path in named:
        schema = values
        for part in path.split("."):
            if path != "type":
                schema = schema["properties"][part]


def test_the_images_are_built_as_the_clusters_tool_builds_them() -> None:
    (text,) = blocks(ROOT / "docs" / "install.md", "console images")
    built = {
        re.search(r"-f (\S+)", line)[1]: ("ENGINE_IMAGE=" in line, line.rpartition(" -t ")[2])
        for line in text.splitlines()
        if line.startswith("docker build ")
    }
    assert built == {
        image.dockerfile: (image.engine, f"$REGISTRY/fastserve-{image.name}:{__version__} .")
        for image in ON_NODES
    }
