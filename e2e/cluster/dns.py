"""CoreDNS as a pod, behind the address that every pod has in its resolv.conf."""

import hashlib
from string import Template

from cluster.api import Api
from cluster.places import DNS_ADDRESS, MANIFESTS


def manifest(image: str) -> str:
    """The objects in YAML. The pod template names the content: CoreDNS reads its Corefile once."""
    text = (MANIFESTS / "dns.yaml").read_text()
    configuration = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Template(text).substitute(IMAGE=image, ADDRESS=DNS_ADDRESS, CONFIGURATION=f"v-{configuration}")


def apply(api: Api, image: str) -> None:
    """Server-side: what is already so is not written again."""
    flags = ("--server-side", "--force-conflicts", "--field-manager=fastserve-cluster")
    api.call("apply", *flags, "--filename=-", stdin=manifest(image))


def missing(api: Api) -> str:
    """Empty when a CoreDNS answers; else what is not yet so."""
    deployment = api.get("deployment", "coredns", "--namespace=kube-system")
    if deployment is None:
        return "there is no Deployment of CoreDNS"
    status = deployment["status"]
    if status.get("observedGeneration") != deployment["metadata"]["generation"] or not status.get(
        "updatedReplicas"
    ):
        return "its Deployment is not rolled out"
    return "" if status.get("readyReplicas") else "no CoreDNS pod is ready"
