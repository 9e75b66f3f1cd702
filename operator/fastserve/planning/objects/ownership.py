"""Marks that tell an object of ours from anybody else's."""

from fastserve.api.identity import APPLIED_ANNOTATION, digest_of
from fastserve.api.objects import Manifest


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """A copy of `manifest` that `owner`, an object as the API server holds it, controls, and that bears the
    digest of all else that it says."""
    metadata = {**manifest["metadata"], "ownerReferences": [owner_reference(owner)]}
    annotations = dict(metadata.pop("annotations", {}))
    annotations.pop(APPLIED_ANNOTATION, None)
    if annotations:
        metadata["annotations"] = annotations
    digest = digest_of({**manifest, "metadata": metadata})
    marked = {**metadata, "annotations": {**annotations, APPLIED_ANNOTATION: digest}}
    return {**manifest, "metadata": marked}


def owner_reference(owner: Manifest) -> Manifest:
    """The owner reference of a controller; Kubernetes deletes the object after its owner."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
