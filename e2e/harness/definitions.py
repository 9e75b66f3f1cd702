"""The CustomResourceDefinitions of a cluster that others use too."""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.kubectl import Kubectl, Manifest

NAMES = ("modelpools.fastserve.io", "submodels.fastserve.io")
KEPT = ("labels", "annotations")
HEAD = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: "


def read_definitions(cluster: Kubectl) -> dict[str, Manifest]:
    """By name."""
    return {name: cluster.get("crd", name) for name in NAMES}


@contextmanager
def lent_definitions(cluster: Kubectl) -> Iterator[dict[str, Manifest]]:
    """For a release that adopts them; afterwards Helm has no part in them and they are as they were."""
    before = read_definitions(cluster)
    try:
        yield before
    finally:
        for name in NAMES:
            # An apply of nothing gives up what its manager alone had set.
            cluster("apply", "--server-side", "--field-manager=helm", "-f", "-", stdin=HEAD + name)
        after = read_definitions(cluster)
        assert {name: summary(one) for name, one in after.items()} == {
            name: summary(one) for name, one in before.items()
        }


def summary(definition: Manifest) -> Manifest:
    """What is said in a definition, and by whom it is: its uid."""
    metadata = definition["metadata"]
    return {
        "uid": metadata["uid"],
        "spec": definition["spec"],
        **{key: metadata.get(key) or {} for key in KEPT},
    }
