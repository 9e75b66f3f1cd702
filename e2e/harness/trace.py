"""What must not change while something else happens: pods and objects by uid."""

from harness.kubectl import Kubectl

POOL_PARTS = (
    "deployments,controllerrevisions,services,configmaps,serviceaccounts,roles,rolebindings,"
    "networkpolicies,poddisruptionbudgets"
)
"""Every kind that a pool consists of, but its pods."""


def pods(kubectl: Kubectl, selector: str = "fastserve.io/pool") -> dict[str, str]:
    """Of the pods of pools, by name: uid, node and how often their containers were started again."""
    return {
        pod["metadata"]["name"]: " ".join(
            [
                pod["metadata"]["uid"],
                pod["spec"].get("nodeName", ""),
                *(
                    f"{one['name']}:{one['restartCount']}"
                    for kind in ("initContainerStatuses", "containerStatuses")
                    for one in pod["status"].get(kind, [])
                ),
            ]
        )
        for pod in kubectl.list_of("pods", selector)
        if "deletionTimestamp" not in pod["metadata"]
    }


def parts(kubectl: Kubectl, selector: str = "fastserve.io/pool") -> dict[str, str]:
    """Of the objects that pools consist of, by kind and name: uid and resourceVersion but for Deployments,
    whose status changes by itself: there the generation."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": f"{one['metadata']['uid']} {_version(one)}"
        for one in kubectl.list_of(POOL_PARTS, selector)
    }


def uids(kubectl: Kubectl, kinds: str) -> dict[str, str]:
    """By kind and name."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["uid"] for one in kubectl.list_of(kinds)
    }


def _version(one: dict[str, dict[str, str]]) -> str:
    return str(one["metadata"]["generation" if one["kind"] == "Deployment" else "resourceVersion"])
