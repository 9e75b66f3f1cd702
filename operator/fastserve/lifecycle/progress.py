"""What a lifecycle program says while it works: one JSON object per line on stdout.

Every line has ``event``. The last one is ``done`` or ``error``; an ``error`` line has ``field``,
``message`` and ``allowed`` and goes with exit code 2.
"""

import json
import sys
from collections.abc import Callable, Mapping

from fastserve.errors import FastServeError, InvalidSpec

Emit = Callable[[Mapping[str, object]], None]
"""Takes one event."""
INVALID = 2
"""Exit code where the fault lies in what the user gave."""


def print_event(event: Mapping[str, object]) -> None:
    """One event as a line, flushed so that the reader of the pipe can draw it at once."""
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def error_event(error: FastServeError) -> dict[str, object]:
    """The error as an event; `field` and `allowed` are empty where the error names none."""
    if isinstance(error, InvalidSpec):
        return {"event": "error", "field": error.field, "message": error.detail, "allowed": error.allowed}
    return {"event": "error", "field": "", "message": error.message, "allowed": ""}


def run_and_report(program: Callable[[Emit], Mapping[str, object]]) -> int:
    """Run `program`, print ``done`` with what it returns, or ``error``; the exit code."""
    try:
        result = program(print_event)
    except FastServeError as error:
        print_event(error_event(error))
        return INVALID
    print_event({"event": "done", **result})
    return 0
