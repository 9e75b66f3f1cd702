import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastserve import errors
from fastserve.api.manifests import check_set, parse
from fastserve.errors import RequestError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "fastserve"
VAGUE_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "misc"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_the_folder_operator_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator"


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_tests_and_benches_are_no_packages(folder: str) -> None:
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    names = {file.stem for file in MODULES} - {"__init__", "__main__"}
    assert names & set(sys.stdlib_module_names) == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert {file.stem for file in MODULES} & VAGUE_NAMES == set()


def test_test_files_have_names_of_their_own() -> None:
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_only_programs_read_the_environment() -> None:
    programs = {"__main__", "triton_model"}  # Triton's stub is the program around triton_model
    reads = re.compile(r"\bos\.(environ|getenv)\b|from os import .*environ")
    assert [
        f for f in MODULES if f.stem not in programs and reads.search(f.read_text(encoding="utf-8"))
    ] == []


def classes() -> Iterator[ast.ClassDef]:
    """Every class of the package, read and not imported: half the rooms need packages of their own."""
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield node


def errors_of_the_tree() -> list[ast.ClassDef]:
    tree, names = [], {"FastServeError"}
    found = list(classes())
    for _ in found:  # as often as a chain of bases could be long
        grown = [node for node in found if {ast.unparse(base) for base in node.bases} & names]
        if len(grown) == len(tree):
            break
        tree, names = grown, names | {node.name for node in grown}
    return tree


def says_its_reason(error: ast.ClassDef) -> bool:
    """Whether the class, or its constructor, sets `reason`; RequestError's constructor does for its own."""
    if any(ast.unparse(base).endswith("RequestError") for base in error.bases):
        return True
    targets = {
        ast.unparse(target)
        for node in ast.walk(error)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    return bool(targets & {"reason", "self.reason"})


def test_every_error_has_a_reason_of_its_own() -> None:
    tree = errors_of_the_tree()
    assert {"RankDied", "ManifestErrors", "BackendTimeout"} <= {error.name for error in tree}
    assert [error.name for error in tree if not says_its_reason(error)] == []


def test_the_reasons_of_the_tree_differ_and_are_one_word_each() -> None:
    tree = [error for error in vars(errors).values() if isinstance(error, type) and error is not RequestError]
    reasons = {error.__name__: error.reason for error in tree}
    assert len(reasons) > 10
    assert len(set(reasons.values())) == len(reasons)
    assert all(reason.isalpha() and reason[0].isupper() for reason in reasons.values())


EXAMPLE_FILES = sorted((ROOT / "examples").glob("*/*.yaml"))


@pytest.mark.parametrize("folder", sorted({file.parent for file in EXAMPLE_FILES}), ids=lambda f: f.name)
def test_an_example_is_right_strictly_read(folder: Path) -> None:
    files = [file for file in EXAMPLE_FILES if file.parent == folder]
    assert check_set([parse(file.read_text(encoding="utf-8"), file.name) for file in files]) == ()
