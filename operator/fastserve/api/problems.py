"""What is wrong with a file, and where."""

from dataclasses import dataclass

from fastserve.errors import FastServeError


@dataclass(frozen=True, order=True)
class Problem:
    """One fault. `line` counts from 1; `path` is the field's, e.g. ``spec.selection.topK``, empty where
    the fault is no field's."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ManifestErrors(FastServeError):
    """Every fault that was found; one line of text for each."""

    reason = "InvalidManifest"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
