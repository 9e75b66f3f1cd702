"""Lines of a story's table: what was done, what came of it, after how many seconds."""

import time
from collections.abc import Callable

from harness.kubectl import Kubectl, Manifest
from harness.statuses import condition, told
from harness.waiting import eventually


def said_of(kubectl: Kubectl, kind: str, name: str, what: tuple[str, str, str]) -> Manifest:
    """The condition, once it is as `what` (type, status, reason) says, at the object's current generation.
    Raises AssertionError until then."""
    thing = kubectl.get(kind, name)
    found = condition(thing, what[0])
    current = found.get("observedGeneration") == thing["metadata"]["generation"]
    shown = (found.get("type"), found.get("status"), found.get("reason"))
    assert (current, *shown) == (True, *what), f"{what} is not in {told(kubectl, kind, name)}"
    return found


def timed(look: Callable[[], Manifest], most: float, what: str) -> tuple[float, Manifest]:
    """Seconds from now until `look` has an answer, and the answer."""
    start = time.monotonic()
    found = eventually(look, most, what)
    return time.monotonic() - start, found


def show(cause: str, seconds: float, said: Manifest) -> None:
    """Print a line: ``3.1 s  cause -> Accepted=False InvalidSpec: …``."""
    print(f"{seconds:5.1f} s  {cause} -> {said['type']}={said['status']} {said['reason']}: {said['message']}")
