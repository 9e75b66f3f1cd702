"""No value is dead: changing any one of them changes what is rendered."""

from functools import cache
from typing import Any

import pytest
from ruamel.yaml import YAML

from helm_chart import CHART, render

MONITORS = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
CHANGED: dict[str, Any] = {
    "nameOverride": "other",
    "fullnameOverride": "other",
    "commonLabels": {"a": "b"},
    "commonAnnotations": {"a": "b"},
    "crds.enabled": False,
    "crds.keep": False,
    "crds.annotations": {"a": "b"},
    "crds.labels": {"a": "b"},
    "images.registry": "registry.example.com",
    "images.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "pull"}],
    "watchNamespaces": ["a"],
    "clusterDomain": "example.internal",
    "logLevel": "DEBUG",
    "apiWrites.perSecond": 100,
    "apiWrites.burst": 200,
    "replicas": 1,
    "resources": {"requests": {"cpu": "1"}},
    "priorityClassName": "high",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "podLabels": {"a": "b"},
    "podAnnotations": {"a": "b"},
    "serviceAccount.create": False,
    "serviceAccount.name": "other",
    "serviceAccount.annotations": {"a": "b"},
    "rbac.create": False,
    "rbac.aggregate": False,
    "rbac.finalizers": True,
    "podDisruptionBudget.enabled": False,
    "networkPolicy.enabled": False,
    "networkPolicy.pools": False,
    "networkPolicy.prometheusNamespace": "watch",
    "expose": [{"pool": "news", "host": "news.example.com"}],
    "extraObjects": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}],
    **{
        f"images.{image}.{field}": value
        for image in ("operator", "router", "triton")
        for field, value in (("repository", "x"), ("tag", "x"), ("digest", "sha256:" + "1" * 64))
    },
    **{
        f"metrics.{monitor}.{field}": value
        for monitor in MONITORS
        for field, value in (("enabled", False), ("labels", {"a": "b"}), ("interval", "5s"))
    },
}
DOOR = {"pool": "news", "host": "a.example", "type": "HTTPRoute", "parentRefs": [{"name": "gate"}]}
DOOR_CHANGED: list[dict[str, Any]] = [
    {"pool": "other"},
    {"namespace": "desk"},
    {"host": "b.example"},
    {"path": "/news"},
    {"annotations": {"a": "b"}},
    {"parentRefs": [{"name": "other"}]},
    {"parentRefs": [{"name": "gate", "namespace": "gates"}]},
    {"parentRefs": [{"name": "gate", "sectionName": "https"}]},
    {"type": "Ingress", "className": ""},
    {"type": "Ingress", "className": "nginx"},
    {"type": "Ingress", "tlsSecret": "cert"},
]


def leaves(values: dict[str, Any], path: str = "") -> list[str]:
    """Paths of all values that are no blocks; an empty object, or one handed on as it is, is a value."""
    found: list[str] = []
    for name, value in values.items():
        block = isinstance(value, dict) and value and name != "resources"
        found += leaves(value, f"{path}{name}.") if block else [f"{path}{name}"]
    return found


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: merged(base[name], change[name])
        for name in base.keys() & change.keys()
        if isinstance(base[name], dict)
    }
    return {**base, **change, **both}


@cache
def before() -> str:
    return str(render({"metrics": MONITORS}))


def test_every_value_has_a_change_to_try() -> None:
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert sorted(CHANGED) == sorted(leaves(values))


@pytest.mark.parametrize("path", CHANGED)
def test_a_changed_value_changes_what_is_rendered(path: str) -> None:
    change = merged({"metrics": MONITORS}, nested(path, CHANGED[path]))
    assert str(render(change)) != before()


def test_every_field_of_a_door_changes_it() -> None:
    doors = [{**DOOR, **change} for change in ({}, *DOOR_CHANGED)]
    rendered = [str(render({"crds": {"enabled": False}, "expose": [door]})) for door in doors]
    assert len(set(rendered)) == len(doors)
