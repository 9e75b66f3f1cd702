"""Questions that come to a pool at a steady rate from inside the cluster, and what became of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.kubectl import Kubectl, Manifest
from harness.release import images
from harness.statuses import must_be
from harness.waiting import eventually

HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
PYTHON = "/opt/fastserve/venv/bin/python"
SCRIPTS = "/scripts"


def script_pod(name: str, script: str, *arguments: str) -> dict[str, Any]:
    """A pod that runs one of the scripts of the ConfigMap of its name until it ends or is deleted."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": name,
                    "image": images()["operator"],
                    "command": [PYTHON, f"{SCRIPTS}/{script}", *arguments],
                    "securityContext": HARDENED,
                    "resources": {"requests": {"cpu": "50m"}},
                    "volumeMounts": [{"name": "scripts", "mountPath": SCRIPTS}],
                }
            ],
            "volumes": [{"name": "scripts", "configMap": {"name": name}}],
        },
    }


def apply_script(kubectl: Kubectl, pod: Manifest, data: dict[str, str]) -> None:
    """Make the ConfigMap that holds the pod's files, and the pod, and wait until it runs."""
    name = pod["metadata"]["name"]
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    kubectl.apply(json.dumps(about))
    kubectl.apply(json.dumps(pod))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s", seconds=70)


class Questions:
    """What became of the questions so far."""

    def __init__(self, kubectl: Kubectl, per_second: float) -> None:
        self._kubectl = kubectl
        self._more = 3 * per_second

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._kubectl("logs", "questions").splitlines()]

    def totals(self) -> dict[str, Any]:
        return next(line for line in reversed(self.lines()) if "totals" in line)

    def bad(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "outcome" in line]

    def after(self, step: str, seconds: float) -> None:
        """Print how it stands after a step; wait until questions have come that were asked after it."""
        asked = self.totals()["asked"]
        eventually(lambda: self.totals()["asked"] >= asked + self._more or None, 60, "more questions")
        print(f"{step} ({seconds:.1f} s): {json.dumps(self.totals())}")
        for line in self.bad():
            print(f"   {json.dumps(line)}")
        assert self.bad() == [], step


@contextmanager
def asked_steadily(pool: Kubectl, what: Sequence[dict[str, str]], per_second: float) -> Iterator[Questions]:
    """Ask `what` (text, member, label) again and again until the block ends."""
    script = Path(__file__).with_name("load.py").read_text()
    pod = script_pod("questions", "load.py", "http://news", f"{SCRIPTS}/questions.json", str(per_second))
    apply_script(pool, pod, {"load.py": script, "questions.json": json.dumps(what)})
    asking = Questions(pool, per_second)
    eventually(lambda: any("totals" in line for line in asking.lines()) or None, 30, "the first totals")
    try:
        yield asking
    finally:
        pool("delete", "pod", "questions", "--wait=false")


def pods_of(kubectl: Kubectl, name: str) -> list[Manifest]:
    return kubectl.list_of("pods", f"fastserve.io/submodel={name}")


def settled(kubectl: Kubectl, name: str, pods: int) -> None:
    """Wait until the sub-model is Ready and has so many pods, those that end included."""
    eventually(lambda: must_be(kubectl, "submodel", name, "Ready"), 300, f"{name} is Ready")
    eventually(lambda: len(pods_of(kubectl, name)) == pods or None, 120, f"{name} has {pods} pods")
