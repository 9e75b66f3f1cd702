"""CoreDNS as a pod, behind the address that every pod has in its resolv.conf."""

from string import Template

from cluster.api import Api
from cluster.places import DNS_ADDRESS, MANIFESTS


def manifest(image: str) -> str:
    return Template((MANIFESTS / "dns.yaml").read_text()).substitute(IMAGE=image, ADDRESS=DNS_ADDRESS)


def apply(api: Api, image: str) -> None:
    """Server-side: what is already so is not written again."""
    flags = ("--server-side", "--force-conflicts", "--field-manager=fastserve-cluster")
    api.call("apply", *flags, "--filename=-", stdin=manifest(image))


def missing(api: Api) -> str:
    """Empty when a CoreDNS answers; else what is not yet so."""
    deployment = api.get("deployment", "coredns", "--namespace=kube-system")
    if deployment is None:
        return "there is no Deployment of CoreDNS"
    return "" if deployment["status"].get("readyReplicas") else "no CoreDNS pod is ready"
