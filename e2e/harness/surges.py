"""Load that rises and falls, from inside the cluster, and what became of it."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.kubectl import Kubectl
from harness.questions import apply_script, script_pod
from harness.waiting import eventually

Line = dict[str, Any]


class Surges:
    """What became of the questions so far."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def lines(self) -> list[Line]:
        return [json.loads(line) for line in self._kubectl("logs", "surge").splitlines()]

    def seconds(self) -> list[Line]:
        """A line for each second."""
        return [line for line in self.lines() if "asked" in line]

    def lost(self) -> list[Line]:
        return [line for line in self.lines() if "outcome" in line]

    def total(self, what: str) -> int:
        return sum(int(line[what]) for line in self.seconds())

    def again(self) -> dict[str, int]:
        """How often somebody was told to come again, by status; 0 for no answer."""
        counts: Counter[str] = Counter()
        for line in self.seconds():
            counts.update(line["again"])
        return dict(counts)

    def over(self, seconds: float) -> None:
        """Wait until every question has its end."""
        eventually(lambda: any("over" in line for line in self.lines()) or None, seconds, "the load is over")
        print(f"asked {self.total('asked')}, answered {self.total('answered')}, asked again {self.again()}")
        for line in self.lost():
            print(f"   {json.dumps(line)}")


@contextmanager
def surge(kubectl: Kubectl, url: str, text: str, phases: str) -> Iterator[Surges]:
    """Ask `text` at these rates (``RATE:SECONDS,…``), beginning now; the block's end ends it."""
    script = Path(__file__).with_name("surge.py").read_text()
    kubectl("delete", "pod", "surge", "--ignore-not-found", "--wait", seconds=60)
    apply_script(kubectl, script_pod("surge", "surge.py", url, text, phases), {"surge.py": script})
    try:
        yield Surges(kubectl)
    finally:
        kubectl("delete", "pod", "surge", "--wait=false")
