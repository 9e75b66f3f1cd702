"""The objects of one pool, but for its stand-by workloads (workloads.py). Each is a whole manifest without an
owner; ownership.py adds that."""

from collections.abc import Mapping, Sequence

from fastserve.api.identity import GROUP, POOL_LABEL, SERVICE_PORT, scaling_lease_name
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    ROLE,
    ROLE_BINDING,
    SERVICE,
    SERVICE_ACCOUNT,
    SUB_MODEL,
    Kind,
    Manifest,
)
from fastserve.api.routes import RouteTable
from fastserve.api.scaling import ScalingMode, Staff
from fastserve.planning.objects import naming
from fastserve.planning.objects.containers import DATA_PORT_NAME
from fastserve.planning.objects.policies import budget, router_policy
from fastserve.planning.objects.settings import NetworkSetting

ROUTES_ENTRY = "routes.json"
"""Entry of the routes ConfigMap."""
EARLIER_ANNOTATION = "fastserve.io/earlier-tables"
"""On the routes ConfigMap: digests of route tables, the newest last (earlier_tables.py)."""
_RBAC = "rbac.authorization.k8s.io"


def service_account(pool: ModelPool) -> Manifest:
    """Who the pool's routers are for the API server. Its token is mounted only where a pod says so."""
    return {
        **_head(SERVICE_ACCOUNT, pool, naming.routers_of_pool(pool.metadata.name)),
        "automountServiceAccountToken": False,
    }


def role(pool: ModelPool, members: Sequence[str], staff: Mapping[str, Staff]) -> Manifest:
    """What routers may read: the route table and the prototypes of `members`, by name, and where the others
    are. EndpointSlices have no names that could be known beforehand. With `staff`, which is that of scaled
    members by name, also what scaling takes."""
    routes = naming.routes_of_pool(pool.metadata.name)
    prototypes = [naming.prototypes_of_member(member) for member in sorted(members)]
    rules = [
        {"resources": ["configmaps"], "resourceNames": [routes], "verbs": ["list", "watch"]},
        {"resources": ["configmaps"], "resourceNames": prototypes, "verbs": ["get"]},
    ]
    return {
        **_head(ROLE, pool, naming.routers_of_pool(pool.metadata.name)),
        "rules": [
            # A rule without names would be about all ConfigMaps.
            *({"apiGroups": [""], **rule} for rule in rules if rule["resourceNames"]),
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
            *_scaling_rules(pool, staff),
        ],
    }


def _scaling_rules(pool: ModelPool, staff: Mapping[str, Staff]) -> list[Manifest]:
    """Hold the Lease; and where the routers are to scale, write `/scale` of those members and tell of it."""
    if not staff:
        return []
    lease = {
        "apiGroups": [LEASE.api_version.partition("/")[0]],
        "resources": [LEASE.plural],
        "resourceNames": [scaling_lease_name(pool.metadata.name)],
        "verbs": ["get", "update"],
    }
    built_in = sorted(name for name, one in staff.items() if one.mode is ScalingMode.BUILTIN)
    if not built_in:
        return [lease]
    scale = {
        "apiGroups": [GROUP],
        "resources": [f"{SUB_MODEL.plural}/scale"],
        "resourceNames": built_in,
        "verbs": ["get", "update"],
    }
    events = {
        "apiGroups": [EVENT.api_version.partition("/")[0]],
        "resources": [EVENT.plural],
        "verbs": ["create"],
    }
    return [lease, scale, events]


def scaling_lease(pool: ModelPool) -> Manifest:
    """The Lease whose holder scales. Its spec is the routers' own, and never applied."""
    return _head(LEASE, pool, scaling_lease_name(pool.metadata.name))


def role_binding(pool: ModelPool) -> Manifest:
    """Gives the pool's own service account the pool's role."""
    name = naming.routers_of_pool(pool.metadata.name)
    subject = {"kind": SERVICE_ACCOUNT.name, "name": name, "namespace": pool.metadata.namespace}
    return {
        **_head(ROLE_BINDING, pool, name),
        "roleRef": {"apiGroup": _RBAC, "kind": ROLE.name, "name": name},
        "subjects": [subject],
    }


def routes_object(pool: ModelPool, table: RouteTable, earlier: Sequence[str] = ()) -> Manifest:
    """The ConfigMap that carries the route table to every router of the pool; `earlier` are digests of tables
    that say the same to a door."""
    head = _head(CONFIG_MAP, pool, naming.routes_of_pool(pool.metadata.name))
    if earlier:
        head["metadata"]["annotations"] = {EARLIER_ANNOTATION: ",".join(earlier)}
    return {
        **head,
        "data": {ROUTES_ENTRY: table.model_dump_json(by_alias=True)},
    }


def pool_service(pool: ModelPool) -> Manifest:
    """The pool's door: any of its routers that is ready."""
    name = pool.metadata.name
    return {
        **_head(SERVICE, pool, naming.service_of_pool(name)),
        "spec": {
            "type": "ClusterIP",
            "selector": {POOL_LABEL: name},
            "ports": [
                {
                    "name": "http",
                    "port": SERVICE_PORT,
                    "targetPort": DATA_PORT_NAME,
                    "protocol": "TCP",
                    "appProtocol": scheme_of(pool),
                }
            ],
        },
    }


def scheme_of(pool: ModelPool | None) -> str:
    """What the pool's door speaks: http or https."""
    return "https" if pool is not None and pool.spec.router.tls is not None else "http"


def network_policy(pool: ModelPool, setting: NetworkSetting) -> Manifest | None:
    """Who may reach the pool's pods; none where the operator was told to make none."""
    if not setting.policies:
        return None
    name = pool.metadata.name
    return router_policy(_metadata(pool, naming.routers_of_pool(name)), name, setting)


def standby_budget(pool: ModelPool) -> Manifest | None:
    """The stand-by routers' PodDisruptionBudget, over all of their revisions."""
    name = pool.metadata.name
    metadata = _metadata(pool, naming.standby_of_pool(name))
    return budget(metadata, naming.standby_selector(name), pool.spec.router.standby_replicas)


def _head(kind: Kind, pool: ModelPool, name: str) -> Manifest:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": _metadata(pool, name)}


def _metadata(pool: ModelPool, name: str) -> Manifest:
    return {
        "namespace": pool.metadata.namespace,
        "name": name,
        "labels": naming.pool_labels(pool.metadata.name),
    }
