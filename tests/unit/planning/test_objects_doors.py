"""Services, rights, network policies, budgets and marks of ownership."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.identity import APPLIED_ANNOTATION, scaling_lease_name
from fastserve.api.objects import Manifest
from fastserve.api.routes import RouteTable
from fastserve.api.scaling import ScalingMode, Staff
from fastserve.planning.objects.member_objects import member_budget, member_service, prototypes_object
from fastserve.planning.objects.ownership import owned
from fastserve.planning.objects.pool_objects import (
    network_policy,
    pool_service,
    role,
    role_binding,
    routes_object,
    scaling_lease,
    service_account,
    standby_budget,
)
from fastserve.planning.objects.settings import ImageSet, NetworkSetting, ObjectSettings
from fastserve.planning.objects.template import member_template, standby_template
from make import pool, sub_model

SETTINGS = ObjectSettings(ImageSet("router", "triton"))
OWNER: Manifest = {
    "apiVersion": "fastserve.io/v1alpha1",
    "kind": "ModelPool",
    "metadata": {"name": "news", "uid": "u-1"},
    "spec": {"suspend": True},
}


def labels_of_pods() -> dict[str, dict[str, str]]:
    standby = standby_template(pool(), SETTINGS)
    sport = member_template(pool(), sub_model("sport"), SETTINGS)
    elsewhere = standby_template(pool("weather"), SETTINGS)
    return {
        name: template["metadata"]["labels"]
        for name, template in {"standby": standby, "sport": sport, "elsewhere": elsewhere}.items()
    }


def selected(selector: dict[str, str]) -> set[str]:
    return {name for name, labels in labels_of_pods().items() if selector.items() <= labels.items()}


def test_the_pools_door_is_every_router_of_it_and_a_members_service_its_own_pods() -> None:
    door, own = pool_service(pool()), member_service(pool(), sub_model("sport"))
    assert selected(door["spec"]["selector"]) == {"standby", "sport"}
    assert selected(own["spec"]["selector"]) == {"sport"}
    assert door["spec"]["ports"][0]["port"] == 80
    assert own["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("service", [pool_service(pool()), member_service(pool(), sub_model("sport"))])
def test_a_service_leads_to_the_data_port_of_the_router(service: Manifest) -> None:
    template = member_template(pool(), sub_model("sport"), SETTINGS)
    router = template["spec"]["initContainers"][0]
    ports = {port["name"]: port["containerPort"] for port in router["ports"]}
    assert [ports[port["targetPort"]] for port in service["spec"]["ports"]] == [8080]


def test_a_members_service_bears_the_labels_by_which_routers_find_its_endpoint_slices() -> None:
    labels = member_service(pool(), sub_model("sport"))["metadata"]["labels"]
    assert labels["fastserve.io/pool"] == "news"
    assert labels["fastserve.io/submodel"] == "sport"
    assert "fastserve.io/submodel" not in pool_service(pool())["metadata"]["labels"]


def test_a_pool_and_a_sub_model_of_one_name_do_not_collide() -> None:
    one, member = pool("news"), sub_model("news")
    made = [
        pool_service(one),
        member_service(one, member),
        routes_object(one, table()),
        prototypes_object(one, member, "k", b""),
    ]
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in made]
    assert len(set(names)) == len(names)


def admitted(policy: Manifest, port: int, sender: dict[str, str], namespace: dict[str, str]) -> bool:
    """Whether the policy, which lies in namespace ``default``, lets `sender` in on `port`."""
    rules = [rule for rule in policy["spec"]["ingress"] if port in [one["port"] for one in rule["ports"]]]
    return any(
        "from" not in rule or any(_peer(peer, sender, namespace) for peer in rule["from"]) for rule in rules
    )


def _peer(peer: dict[str, Any], sender: dict[str, str], namespace: dict[str, str]) -> bool:
    name = namespace["kubernetes.io/metadata.name"]
    of_namespace = peer.get("namespaceSelector")
    wanted = of_namespace.get("matchLabels", {}) if of_namespace is not None else None
    right_place = wanted.items() <= namespace.items() if wanted is not None else name == "default"
    return right_place and peer.get("podSelector", {}).get("matchLabels", {}).items() <= sender.items()


SENDERS = {
    "anybody": ({"app": "x"}, "default"),
    "a router of the same pool": ({"fastserve.io/pool": "news"}, "default"),
    "a router of another pool": ({"fastserve.io/pool": "weather"}, "default"),
    "a router of a pool of that name elsewhere": ({"fastserve.io/pool": "news"}, "elsewhere"),
    "the operator": ({"app.kubernetes.io/name": "fastserve"}, "fastserve-system"),
    "Prometheus": ({"app.kubernetes.io/name": "prometheus"}, "monitoring"),
    "another pod beside Prometheus": ({"app": "x"}, "monitoring"),
}


@pytest.mark.parametrize(
    ("prometheus_namespace", "may"),
    [
        ("", {"a router of the same pool", "the operator", "Prometheus"}),
        (
            "monitoring",
            {
                "a router of the same pool",
                "the operator",
                "Prometheus",
                "another pod beside Prometheus",
            },
        ),
    ],
)
def test_the_data_port_is_open_the_admin_port_to_few_and_triton_to_nobody(
    prometheus_namespace: str, may: set[str]
) -> None:
    policy = network_policy(pool(), NetworkSetting(prometheus_namespace=prometheus_namespace))
    assert policy is not None
    reached = {
        port: {
            who
            for who, (labels, namespace) in SENDERS.items()
            if admitted(policy, port, labels, {"kubernetes.io/metadata.name": namespace})
        }
        for port in (8080, 8081, 8000, 8001, 8002)
    }
    assert reached == {8080: set(SENDERS), 8081: may, 8000: set(), 8001: set(), 8002: set()}
    assert selected(policy["spec"]["podSelector"]["matchLabels"]) == {"standby", "sport"}


def test_no_policy_is_made_where_the_operator_is_told_so() -> None:
    assert network_policy(pool(), NetworkSetting(policies=False)) is None


def rights(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (resource, verb, name)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or ["any"]
    }


@pytest.mark.parametrize(
    ("members", "prototypes"),
    [([], []), (["sport", "arts"], ["arts-m-prototypes", "sport-m-prototypes"])],
)
def test_routers_may_read_named_config_maps_and_endpoint_slices_and_nothing_else(
    members: list[str], prototypes: list[str]
) -> None:
    assert rights(role(pool(), members, {})) == {
        ("configmaps", "list", "news-p-routes"),
        ("configmaps", "watch", "news-p-routes"),
        ("endpointslices", "list", "any"),
        ("endpointslices", "watch", "any"),
        *(("configmaps", "get", name) for name in prototypes),
    }


BUILT_IN, EXTERNAL = Staff(), Staff(mode=ScalingMode.EXTERNAL)
LEASE_RIGHTS = {("leases", verb, "news-p-scaling") for verb in ("get", "update")}


@pytest.mark.parametrize(
    ("staff", "more"),
    [
        ({"sport": EXTERNAL}, LEASE_RIGHTS),
        (
            {"world": BUILT_IN, "arts": BUILT_IN, "sport": EXTERNAL},
            LEASE_RIGHTS
            | {("submodels/scale", verb, name) for verb in ("get", "update") for name in ("world", "arts")}
            | {("events", "create", "any")},
        ),
    ],
)
def test_routers_may_scale_the_members_that_are_theirs_to_scale_and_no_others(
    staff: dict[str, Staff], more: set[tuple[str, str, str]]
) -> None:
    members = ["arts", "sport", "world", "young"]
    assert rights(role(pool(), members, staff)) - rights(role(pool(), members, {})) == more


def test_the_lease_says_whose_it_is_and_nothing_of_who_holds_it() -> None:
    lease = scaling_lease(pool())
    assert set(lease) == {"apiVersion", "kind", "metadata"}
    assert lease["metadata"]["name"] == scaling_lease_name("news")
    assert lease["metadata"]["labels"]["fastserve.io/pool"] == "news"


def test_the_role_is_bound_to_the_account_that_pods_use() -> None:
    account = service_account(pool())["metadata"]["name"]
    binding = role_binding(pool())
    template = standby_template(pool(), SETTINGS)
    assert template["spec"]["serviceAccountName"] == account
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "default"}]
    assert binding["roleRef"]["name"] == role(pool(), [], {})["metadata"]["name"]


@pytest.mark.parametrize(("replicas", "made"), [(0, False), (1, False), (2, True), (9, True)])
def test_only_several_replicas_have_a_budget(replicas: int, made: bool) -> None:
    of_member = member_budget(pool(), sub_model("sport", replicas=replicas))
    assert (of_member is not None) is made
    if replicas:
        of_standby = standby_budget(pool(router={"standbyReplicas": replicas}))
        assert (of_standby is not None) is made
    if of_member is not None:
        assert selected(of_member["spec"]["selector"]["matchLabels"]) == {"sport"}
        assert of_member["spec"]["maxUnavailable"] == 1


def test_prototypes_travel_as_the_bytes_that_they_are() -> None:
    rows = bytes(range(256))
    made = prototypes_object(pool(), sub_model("sport"), "key-1", rows)
    assert made["data"] == {"key": "key-1"}
    assert base64.b64decode(made["binaryData"]["rows"]) == rows


def table() -> RouteTable:
    one = pool()
    return RouteTable(
        pool="news",
        task=one.spec.task,
        selection=one.spec.selection,
        method=one.spec.method,
        deadline_millis=1,
        min_members=1,
        limits=one.spec.router.limits,
        members=(),
    )


def test_the_route_table_is_read_as_it_was_written() -> None:
    text = routes_object(pool(), table())["data"]["routes.json"]
    assert RouteTable.model_validate_json(text) == table()


def test_an_owned_object_names_its_controller_and_keeps_what_it_says() -> None:
    service = pool_service(pool())
    before = json.dumps(service)
    made = owned(service, OWNER)
    assert json.dumps(service) == before
    assert made["spec"] == service["spec"]
    (reference,) = made["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "name": "news",
        "uid": "u-1",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def applied(manifest: Manifest) -> str:
    return str(manifest["metadata"]["annotations"][APPLIED_ANNOTATION])


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(values, values)
def test_the_applied_digest_tells_two_manifests_apart_and_knows_one_again(one: Any, other: Any) -> None:
    head = {"metadata": {"name": "x", "annotations": {"own": "1"}}}
    first, second = (owned({**head, "spec": spec}, OWNER) for spec in (one, other))
    alike = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (applied(first) == applied(second)) is alike
    assert owned(first, OWNER) == first


def test_another_owner_of_the_same_name_makes_another_digest() -> None:
    other = {**OWNER, "metadata": {"name": "news", "uid": "u-2"}}
    assert applied(owned(pool_service(pool()), OWNER)) != applied(owned(pool_service(pool()), other))
