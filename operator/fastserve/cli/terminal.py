"""The terminal: one place that prints, so that data goes to stdout and talk to stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, RenderableType

from fastserve.api.manifests import ManifestErrors
from fastserve.errors import FastServeError

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2


@contextmanager
def errors_as_text() -> Iterator[None]:
    """Our own errors end the command with their sentence; anything else is a bug and shows its traceback."""
    try:
        yield
    except ManifestErrors as errors:
        for problem in errors.problems:
            err.print(str(problem), markup=False, highlight=False, style="red")
        raise typer.Exit(EXIT_BAD_INPUT) from errors
    except FastServeError as error:
        err.print(str(error), markup=False, highlight=False, style="red")
        raise typer.Exit(EXIT_FAILED) from error


def show(document: dict[str, Any], table: RenderableType | None) -> None:
    """Print the table, or the document where there is none."""
    if table is None:
        out.print_json(data=document)
    else:
        out.print(table)
