"""Following objects as they change: what was so for a moment only is seen too."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.kubectl import Kubectl, Manifest


@dataclass
class Watched:
    """What came, in its order: ADDED, MODIFIED or DELETED, and the object."""

    events: list[tuple[str, Manifest]] = field(default_factory=list)

    def moments(self) -> Iterator[dict[str, Manifest]]:
        """All objects by name, as they were after each event."""
        there: dict[str, Manifest] = {}
        for verb, thing in tuple(self.events):
            if verb == "DELETED":
                there.pop(thing["metadata"]["name"], None)
            else:
                there[thing["metadata"]["name"]] = thing
            yield dict(there)


@contextmanager
def watched(kubectl: Kubectl, kind: str, selector: str = "") -> Iterator[Watched]:
    """Follows the objects of a kind until the block ends."""
    seen = Watched()
    chosen = ["-l", selector] if selector else []
    command = [kubectl.binary, "-n", kubectl.namespace, "get", kind, *chosen]
    process = subprocess.Popen(
        [*command, "--watch", "--output-watch-events", "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=kubectl.environment,
    )
    reader = threading.Thread(target=_read, args=(process, seen))
    reader.start()
    try:
        yield seen
    finally:
        process.terminate()
        reader.join(timeout=10)
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def _read(process: "subprocess.Popen[str]", seen: Watched) -> None:
    for line in process.stdout or ():
        event = json.loads(line)
        seen.events.append((event["type"], event["object"]))
