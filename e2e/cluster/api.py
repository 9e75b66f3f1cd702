"""The cluster's API, by the kubectl that was built for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.commands import run
from cluster.places import Places


@dataclass(frozen=True)
class Api:
    kubectl: Path
    kubeconfig: Path

    @classmethod
    def at(cls, places: Places) -> "Api":
        return cls(places.programs / "kubectl", places.kubeconfig)

    def call(self, *words: str, stdin: str = "") -> str:
        """Standard output of kubectl. Raises ClusterFailed with its words when it fails."""
        return run([self.kubectl, f"--kubeconfig={self.kubeconfig}", *words], stdin=stdin)

    def get(self, kind: str, name: str, *words: str) -> Any:
        """One object, from its JSON; None where it does not exist."""
        answer = self.call("get", kind, name, *words, "--ignore-not-found", "--output=json")
        return json.loads(answer) if answer.strip() else None

    def list(self, kind: str, *words: str) -> Any:
        """The objects of a kind; an empty list where there is none."""
        return json.loads(self.call("get", kind, *words, "--output=json"))["items"]

    def apply(self, objects: Sequence[dict[str, Any]]) -> None:
        """Server-side apply: what is already so is not written again."""
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]})
        flags = ("--server-side", "--force-conflicts", "--field-manager=fastserve-cluster")
        self.call("apply", *flags, "--filename=-", stdin=content)
