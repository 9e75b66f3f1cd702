"""Which cluster the stories run against: E2E_KUBECONFIG's, or the one that `make cluster` starts."""

import os
from pathlib import Path

from cluster.places import API_ADDRESS
from harness.kubectl import Kubectl, kubectl_binary


def state_folder() -> Path:
    """Where `make cluster` keeps what it runs."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "fastserve" / "cluster"


def own_cluster() -> bool:
    """Whether it is the one of `make cluster`: then images are imported, and nodes have addresses that
    this machine reaches."""
    return not os.environ.get("E2E_KUBECONFIG")


def target() -> Kubectl:
    """kubectl for the cluster. Raises AssertionError, saying what to do, where there is none: a story that
    has no cluster has failed, it is not skipped."""
    folder = state_folder()
    kubeconfig = Path(os.environ.get("E2E_KUBECONFIG") or folder / "kubeconfig")
    if not kubeconfig.is_file():
        raise AssertionError(f"{kubeconfig} is not there: run `make cluster`, or set E2E_KUBECONFIG")
    tools = (folder / "bin",)
    kubectl = Kubectl(kubectl_binary(tools), kubeconfig, path=tools)
    version = kubectl.attempt("version", "-o", "json", seconds=30)
    if version.returncode != 0:
        raise AssertionError(f"the cluster of {kubeconfig} does not answer: {version.stderr.strip()}")
    return kubectl


def address_for_pods() -> str:
    """An address of this machine that pods reach: that of the node of `make cluster`, or E2E_ADDRESS."""
    given = os.environ.get("E2E_ADDRESS", "")
    if not given and not own_cluster():
        raise AssertionError(
            "E2E_ADDRESS is not set: an address of this machine that the cluster's pods reach"
        )
    return given or API_ADDRESS
