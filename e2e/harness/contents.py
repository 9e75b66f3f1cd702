"""What the objects of pools say, without what the API server and other controllers add to them."""

from typing import Any

from harness.kubectl import Kubectl, Manifest
from harness.trace import POOL_PARTS

ROLLOUT_NUMBER = "deployment.kubernetes.io/revision"


def contents(kubectl: Kubectl, selector: str = "fastserve.io/pool") -> dict[str, Manifest]:
    """By kind and name."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": content(one)
        for one in kubectl.list_of(POOL_PARTS, selector)
    }


def lives(kubectl: Kubectl, selector: str = "fastserve.io/pool") -> dict[str, Manifest]:
    """By kind and name, with the uid: what was deleted and made again as it was is another."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": {**content(one), "uid": one["metadata"]["uid"]}
        for one in kubectl.list_of(POOL_PARTS, selector)
    }


def content(thing: Manifest) -> Manifest:
    """Two objects are alike when this is the same for both, whenever they were made."""
    metadata = thing["metadata"]
    annotations = {
        key: value for key, value in metadata.get("annotations", {}).items() if key != ROLLOUT_NUMBER
    }
    said: dict[str, Any] = {key: value for key, value in thing.items() if key not in ("metadata", "status")}
    if thing["kind"] == "Service" and thing["spec"].get("clusterIP") != "None":
        allocated = ("clusterIP", "clusterIPs")
        said["spec"] = {key: value for key, value in thing["spec"].items() if key not in allocated}
    owners = sorted(one["uid"] for one in metadata.get("ownerReferences", []))
    return {**said, "labels": metadata.get("labels", {}), "annotations": annotations, "owners": owners}
