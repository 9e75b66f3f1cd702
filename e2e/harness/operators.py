"""The operator's own pods, as somebody who runs the cluster treats them."""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.kubectl import Kubectl, Manifest
from harness.release import NAMESPACE, RELEASE
from harness.waiting import eventually

NAME = "fastserve-operator"
DEPLOYMENT = f"deployment/{NAME}"
SELECTOR = f"app.kubernetes.io/instance={RELEASE}"


@contextmanager
def operator_away(cluster: Kubectl) -> Iterator[None]:
    """The operator is scaled to nothing for as long as the block lasts."""
    system = cluster.within(NAMESPACE)
    replicas = system.get("deployment", NAME)["spec"]["replicas"]
    system("scale", DEPLOYMENT, "--replicas=0")
    eventually(lambda: not operator_pods(cluster), 60, "no operator runs")
    try:
        yield
    finally:
        system("scale", DEPLOYMENT, f"--replicas={replicas}")
        system("rollout", "status", DEPLOYMENT, "--timeout=90s", seconds=100)


def operator_pods(cluster: Kubectl) -> list[Manifest]:
    return cluster.within(NAMESPACE).list_of("pods", SELECTOR)


def operator_user(cluster: Kubectl) -> str:
    """What the API server's audit log calls it."""
    account = cluster.within(NAMESPACE).get("deployment", NAME)["spec"]["template"]["spec"][
        "serviceAccountName"
    ]
    return f"system:serviceaccount:{NAMESPACE}:{account}"


def leader(cluster: Kubectl) -> str:
    """The pod that holds the Lease. Raises AssertionError where none does."""
    lease = cluster.within(NAMESPACE).get("lease", NAME)
    holder = str(lease["spec"].get("holderIdentity") or "")
    assert holder, "nobody holds the lease"
    return holder


def restarts(cluster: Kubectl) -> dict[str, int]:
    """How often the operator's containers were started again, by pod."""
    return {
        pod["metadata"]["name"]: sum(one["restartCount"] for one in pod["status"]["containerStatuses"])
        for pod in operator_pods(cluster)
    }
