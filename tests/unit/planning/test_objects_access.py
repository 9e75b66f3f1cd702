"""Keys and certificates in the objects: who mounts them, what they change, what stays as it was."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fastserve.api.access import key_digest, state_key
from fastserve.planning.objects.pool_objects import pool_service
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.template import (
    member_revision,
    member_template,
    standby_revision,
    standby_template,
)
from fastserve.planning.routes import route_table
from make import pool, sub_model
from pod_security import violations
from pretend_cluster import PretendCluster, pool_manifest, sub_model_manifest

SETTINGS = ObjectSettings(ImageSet("router:1", "triton:1"))
ALL = {"auth": {"secretName": "keys"}, "tls": {"secretName": "cert", "clientCaSecretName": "callers"}}
FOLDERS = {
    "keys_path": ("/var/run/fastserve/api-keys", "keys"),
    "tls_path": ("/var/run/fastserve/certificate", "cert"),
    "client_ca_path": ("/var/run/fastserve/caller-authority", "callers"),
}


def pods(**router: Any) -> list[dict[str, Any]]:
    made, member = pool(router=router), sub_model("sport")
    return [member_template(made, member, SETTINGS)["spec"], standby_template(made, SETTINGS)["spec"]]


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def secrets_of(spec: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
    """Secret by the path at which a container sees it."""
    volumes = {one["name"]: one["secret"]["secretName"] for one in spec["volumes"] if "secret" in one}
    mounts = [one for one in container["volumeMounts"] if one["name"] in volumes]
    assert all(one["readOnly"] for one in mounts)
    return {one["mountPath"]: volumes[one["name"]] for one in mounts}


@pytest.mark.parametrize("which", [("auth",), ("tls",), ("auth", "tls")], ids="+".join)
def test_routers_mount_what_their_settings_name_and_triton_mounts_none(which: tuple[str, ...]) -> None:
    for spec in pods(**{name: ALL[name] for name in which}):
        for container in containers(spec):
            seen = secrets_of(spec, container)
            if container["name"] != "router":
                assert seen == {}
                continue
            settings = json.loads(container["args"][1])
            named = {place: secret for name, (place, secret) in FOLDERS.items() if name in settings}
            assert seen == named
            assert ("keys_path" in settings, "tls_path" in settings) == ("auth" in which, "tls" in which)


def test_pods_with_keys_and_certificates_keep_the_restricted_level() -> None:
    for spec in pods(**ALL):
        assert violations(spec) == []
        modes = [one["secret"]["defaultMode"] for one in spec["volumes"] if "secret" in one]
        assert modes == [0o440] * 3


def test_a_pool_without_keeps_its_revision_and_one_with_has_its_own() -> None:
    member = sub_model("sport")
    plain, audited, guarded = pool(), pool(router={"audit": True}), pool(router={"auth": ALL["auth"]})
    for revision in (standby_revision, lambda one: member_revision(one, member)):
        assert revision(plain) == revision(audited)
        assert len({revision(one) for one in (plain, guarded, pool(router=ALL))}) == 3


def test_tracing_is_told_in_the_table_and_rolls_no_pod() -> None:
    tracing = {"endpoint": "http://collector:4318", "samplingRatio": "0.5"}
    plain, traced = pool(), pool(router={"tracing": tracing})
    assert standby_revision(plain) == standby_revision(traced)
    assert member_revision(plain, sub_model("sport")) == member_revision(traced, sub_model("sport"))
    assert route_table(plain, []).tracing is None
    assert route_table(traced, []).tracing == traced.spec.router.tracing


@pytest.mark.parametrize(
    "tracing",
    [
        {},
        {"endpoint": "collector:4318"},
        {"endpoint": "http://user:word@collector:4318"},
        {"endpoint": "http://collector:4318?key=word"},
        {"endpoint": "http://collector:4318\r\nx: y"},
        {"endpoint": "http://collector:4318", "samplingRatio": "1.5"},
        {"endpoint": "http://collector:4318", "samplingRatio": 0.5},
    ],
)
def test_a_collector_that_cannot_be_is_refused(tracing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tracing"):
        pool(router={"tracing": tracing})


def test_the_table_tells_of_the_operators_key_nothing_but_its_digest() -> None:
    guarded, seed = pool(router={"auth": ALL["auth"], "audit": True}), b"seed"
    key = state_key(seed, f"{guarded.metadata.namespace}/{guarded.metadata.name}")
    access = route_table(guarded, [], seed).access
    assert (access.audit, access.operator_digest) == (True, key_digest(key.encode()))
    assert key not in route_table(guarded, [], seed).model_dump_json()
    assert route_table(pool(), [], seed).access.operator_digest == ""
    assert state_key(seed, "team-b/news") != state_key(seed, "team-a/news")


def test_the_service_says_what_the_door_speaks() -> None:
    for made, spoken in ((pool(), "http"), (pool(router={"tls": ALL["tls"]}), "https")):
        assert pool_service(made)["spec"]["ports"][0]["appProtocol"] == spoken


def test_another_operator_that_routers_do_not_know_yet_changes_no_condition() -> None:
    cluster = PretendCluster(pool_manifest(router=ALL)).add(sub_model_manifest("sport"))
    cluster.settle(replace(SETTINGS, state_seed=b"one"))
    before = cluster.statuses()
    cluster.states = {}
    cluster.look(replace(SETTINGS, state_seed=b"another"))
    assert cluster.statuses() == before
    assert before["news"]["Ready"].startswith("True ")
