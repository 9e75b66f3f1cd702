"""The trace of the request that a task works for, and its steps, as far as the other parts know of them.

Nothing of OpenTelemetry is imported here (router/spans.py does): where a pool has no tracing, none is loaded.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Self

Fact = str | bool | int | float | Sequence[str]


class Step:
    """One step of a request, entered while it goes on. This one is of a request that is not traced."""

    recording = False
    """Whether facts are kept; who has to work out one asks first."""
    lines = b""
    """Header lines for a call to another router, each ended by CRLF."""
    triton_lines = b""
    """As `lines`, for Triton: it traces whatever comes with a traceparent, also where that says not to."""
    trace_id = ""

    def part(self, name: str) -> "Step":  # noqa: ARG002  the face of all steps
        """A step within this one, inside the router."""
        return NOTHING

    def call(self, base: str, path: str, model: str) -> "Step":  # noqa: ARG002  as above
        """A step within this one: an inference asked by HTTP of `base` (http://host:port)."""
        return NOTHING

    def answered(self, status: int, reason: str = "") -> None:
        """How it ended, where it is one of HTTP; `reason` is ours."""

    def note(self, name: str, value: Fact) -> None:
        """One fact; never a text that somebody wrote."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


NOTHING = Step()
now_in: ContextVar[Step] = ContextVar("now_in", default=NOTHING)


def current() -> Step:
    """The step that this task is in."""
    return now_in.get()
