"""kubectl, as a story's reader would type it."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


class KubectlFailed(AssertionError):
    """A command that did not succeed, with what it printed."""


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl against one kubeconfig; `namespace` is used where a command names none."""

    binary: str
    kubeconfig: Path
    namespace: str = "default"
    path: Sequence[Path] = field(default_factory=tuple)

    def within(self, namespace: str) -> "Kubectl":
        return Kubectl(self.binary, self.kubeconfig, namespace, self.path)

    @property
    def environment(self) -> dict[str, str]:
        """For any tool that talks to this cluster."""
        folders = ":".join(map(str, self.path))
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{folders}:{os.environ['PATH']}"}

    def attempt(
        self, *arguments: str, stdin: str | None = None, seconds: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run it, whatever comes of it."""
        return subprocess.run(
            [self.binary, "--namespace", self.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self.environment,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        """What it printed. Raises KubectlFailed."""
        done = self.attempt(*arguments, stdin=stdin, seconds=seconds)
        if done.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def get(self, kind: str, name: str) -> Manifest:
        """One object. Raises KubectlFailed where there is none."""
        found: Manifest = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """One object, or None."""
        text = self("get", kind, name, "-o", "json", "--ignore-not-found")
        found: Manifest | None = json.loads(text) if text.strip() else None
        return found

    def list_of(self, kind: str, selector: str = "") -> list[Manifest]:
        chosen = ("-l", selector) if selector else ()
        items: list[Manifest] = json.loads(self("get", kind, *chosen, "-o", "json"))["items"]
        return items

    def apply(self, text: str) -> str:
        return self("apply", "-f", "-", stdin=text)


def kubectl_binary(folders: Sequence[Path]) -> str:
    """The cluster's own kubectl, or else the one on the path."""
    for folder in folders:
        if (folder / "kubectl").is_file():
            return str(folder / "kubectl")
    found = shutil.which("kubectl")
    if found is None:
        raise FileNotFoundError("kubectl is not on the PATH; `make cluster` builds one")
    return found
