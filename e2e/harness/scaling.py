"""Who scales a pool: the Lease, its holder's word, and what the audit log says of both."""

from collections.abc import Iterable

from fastserve.api.identity import scaling_lease_name
from fastserve.api.state import RouterState
from harness.audit import Write
from harness.kubectl import Kubectl, Manifest

ADMIN_PORT = 8081


def routers_user(kubectl: Kubectl, pool: str) -> str:
    """What the API server's audit log calls the pool's routers."""
    return f"system:serviceaccount:{kubectl.namespace}:{pool}-p-router"


def holder(kubectl: Kubectl, pool: str) -> Manifest:
    """The pod of the router that holds the Lease. Raises AssertionError where none does."""
    said = kubectl.get("lease", scaling_lease_name(pool))["spec"].get("holderIdentity") or ""
    for pod in kubectl.list_of("pods", f"fastserve.io/pool={pool}"):
        if said == pod["metadata"]["uid"]:
            return pod
    raise AssertionError(f"nobody of the pool holds the Lease: its holder is {said!r}")


def admin(kubectl: Kubectl, pod: Manifest, path: str) -> str:
    """What a router's admin port says. Raises KubectlFailed where it does not answer."""
    name = f"{pod['metadata']['name']}:{ADMIN_PORT}"
    return kubectl(
        "get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/proxy{path}", seconds=10
    )


def decides(kubectl: Kubectl, pool: str) -> Manifest:
    """The holder's pod, once its router says that it has decided. Raises AssertionError until then."""
    pod = holder(kubectl, pool)
    scaling = RouterState.model_validate_json(admin(kubectl, pod, "/v1/state")).scaling
    assert scaling is not None
    assert scaling.holder, "the Lease names a router that does not say so"
    assert scaling.decisions, "it has decided nothing"
    return pod


def holders_table(kubectl: Kubectl, pool: str) -> str:
    """Digest of the route table that the holder goes by."""
    return RouterState.model_validate_json(admin(kubectl, holder(kubectl, pool), "/v1/state")).table_digest


def desired(kubectl: Kubectl, pool: str, sub_model: str) -> float:
    """fastserve_desired_replicas, as the holder exports it. Raises AssertionError where it does not."""
    metric = f'fastserve_desired_replicas{{submodel="{sub_model}"}} '
    for line in admin(kubectl, holder(kubectl, pool), "/metrics").splitlines():
        if line.startswith(metric):
            return float(line.removeprefix(metric))
    raise AssertionError(f"the holder exports no {metric}")


def is_scale(write: Write) -> bool:
    return write.told.split()[1] == "submodels/scale"


def wrong_scales(writes: Iterable[Write], routers: str, pool: str) -> list[str]:
    """Of what was written, each scale by a router that did not hold the Lease, and each that said once more
    what was so. Who wrote the Lease last holds it; before the first time, who did so then."""
    done = sorted((one for one in writes if one.code < 300), key=lambda write: write.at)
    renewals = [one for one in done if _is_lease(one, routers, pool)]
    wrong, holds = [], renewals[0].pod if renewals else ""
    before: dict[str, int | None] = {}
    for one in done:
        if _is_lease(one, routers, pool):
            holds = one.pod
        if not is_scale(one):
            continue
        name = _named(one)[1]
        if one.user == routers and one.pod != holds:
            wrong.append(f"{one.at}: {one.pod} scaled {name} while {holds or 'nobody'} held the Lease")
        if one.user == routers and one.replicas == before.get(name, -1):
            wrong.append(f"{one.at}: {one.pod} scaled {name} to {one.replicas} once more")
        before[name] = one.replicas
    return wrong


def _is_lease(write: Write, routers: str, pool: str) -> bool:
    return write.user == routers and _named(write) == ("leases", scaling_lease_name(pool))


def _named(write: Write) -> tuple[str, str]:
    """Kind and name; what is created is named by its body alone."""
    _, kind, *named = write.told.split()
    return kind, "".join(named)
