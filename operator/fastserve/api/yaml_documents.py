"""YAML text as plain values that remember their lines.

The text is composed into nodes and no further: nodes know their lines, a mapping with a key written twice
is still there to be reported, and no object is ever constructed from a tag.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from fastserve.api.problems import Problem

Path = tuple[str | int, ...]

MAX_DEPTH = 32
MAX_NODES = 100_000
"""Bounds on what aliases can expand to; a document of ours needs a fraction of either."""

BROKEN_TEXT = "half a surrogate pair is no text"

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {f"{_TAG}str", f"{_TAG}timestamp"}
_PLAIN_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float")}


@dataclass(frozen=True)
class YamlDocument:
    """One document: its value, and the line (from 1) of every field and list item by path."""

    value: Any
    lines: Mapping[Path, int]

    def line_of(self, path: Path) -> int:
        """The line of the field, or of the nearest one around it that is written down."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def dotted(path: Path) -> str:
    """``('spec', 'examples', 3)`` as ``spec.examples[3]``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def read_documents(text: str, file: str) -> tuple[list[YamlDocument], list[Problem]]:
    """All documents of `text` up to the first syntax error, and what is wrong with the YAML itself."""
    documents: list[YamlDocument] = []
    problems: list[Problem] = []
    try:
        for node in YAML(typ="safe", pure=True).compose_all(text):
            reading = _Reading(file)
            value = reading.value_of(node, ())
            problems.extend(reading.problems)
            if value is not None and not reading.problems:
                documents.append(YamlDocument(value, reading.lines))
    except MarkedYAMLError as error:
        problems.append(_syntax_problem(error, file))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(Problem(file, line, "", "not YAML: a control character that YAML does not allow"))
    except RecursionError:  # the composer's own: it descends before anyone can count
        problems.append(Problem(file, 1, "", f"nested over {MAX_DEPTH} levels"))
    return documents, problems


def _is_broken(text: str) -> bool:
    """Whether escapes in quotes made a text that no encoding can write."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _syntax_problem(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(filter(None, [error.context, error.problem]))
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(file, line, "", f"not YAML: {what} (column {column})")


class _Reading:
    """Turns the nodes of one document into values, noting lines and faults on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._nodes = 0
        self._constructor = YAML(typ="safe", pure=True).constructor

    def value_of(self, node: Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            if not self.problems:
                self._report(path, f"nested over {MAX_DEPTH} levels, or over {MAX_NODES} values")
            return None
        if isinstance(node, MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, SequenceNode):
            return [self.value_of(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _entries(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                self.problems.append(Problem(self.file, line, dotted(path), "a key must be a word"))
                continue
            name = str(key.value)
            child = (*path, name)
            if _is_broken(name):
                self.problems.append(Problem(self.file, line, dotted(path), BROKEN_TEXT))
                continue
            if name in seen:
                message = f"written twice, first in line {seen[name]}"
                self.problems.append(Problem(self.file, line, dotted(child), message))
                continue
            seen[name] = self.lines[child] = line
            yield name, self.value_of(value, child)

    def _scalar(self, node: Node, path: Path) -> Any:
        text = str(node.value)
        if _is_broken(text):
            self._report(path, BROKEN_TEXT)
        if node.tag in _TEXT_TAGS:  # an unquoted date is text to Kubernetes, and so it is here
            return text
        if node.tag not in _PLAIN_TAGS:
            self._report(path, f"the tag {node.tag} is not supported")
            return None
        try:
            return self._constructor.construct_object(node)
        except (ValueError, KeyError):  # what an explicit tag such as !!int promised and the text is not
            self._report(path, f"{text[:20]} is no {node.tag.removeprefix(_TAG)}")
            return None

    def _report(self, path: Path, message: str) -> None:
        self.problems.append(Problem(self.file, self.lines[path], dotted(path), message))
