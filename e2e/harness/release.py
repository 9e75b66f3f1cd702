"""FastServe on the cluster, by its chart: as a reader of the install page would have it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.kubectl import Kubectl
from harness.target import own_cluster, state_folder
from harness.waiting import eventually

ROOT = Path(__file__).parents[2]
NAMESPACE = "fastserve-system"
RELEASE = "fastserve"
CHART = ROOT / "charts" / "fastserve"


def images() -> dict[str, str]:
    """References of the three images: those that were built for this cluster, or E2E_IMAGES (JSON)."""
    if not own_cluster():
        given = os.environ.get("E2E_IMAGES", "")
        if not given:
            raise AssertionError('E2E_IMAGES is not set: {"operator": "…", "router": "…", "triton": "…"}')
        return dict(json.loads(given))
    file = state_folder() / "images.json"
    if not file.is_file():
        raise AssertionError(f"{file} is not there: run `make images`")
    return dict(json.loads(file.read_text()))


def image_values() -> list[str]:
    """The chart's values for these images."""
    values = ["--set", "images.registry="]
    for name, reference in images().items():
        repository, _, tag = reference.rpartition(":")
        values += ["--set", f"images.{name}.repository={repository}", "--set", f"images.{name}.tag={tag}"]
    return values


def helm(cluster: Kubectl, *arguments: str, seconds: float = 300) -> str:
    """What helm printed. Raises AssertionError with what it said where it failed."""
    done = subprocess.run(
        ["helm", *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=cluster.environment,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"helm {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def install(cluster: Kubectl, *more: str) -> str:
    """Install the chart or upgrade to it, and wait until the operator is ready. The definitions are applied
    by themselves: stories of the API need them without an operator."""
    arguments = ["upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
    arguments += ["--set", "crds.enabled=false", *image_values(), "--wait", "--timeout", "3m"]
    return helm(cluster, *arguments, *more)


@contextmanager
def only_operator(cluster: Kubectl) -> Iterator[None]:
    """The installed operator is away for as long as the block lasts, for a story that brings its own. Two
    operators that serve the same namespace would undo what the other writes."""
    system = cluster.within(NAMESPACE)
    install(cluster, "--set", "replicas=0")
    eventually(lambda: not system.list_of("pods", f"app.kubernetes.io/instance={RELEASE}"), 60, "it is away")
    try:
        yield
    finally:
        install(cluster)
