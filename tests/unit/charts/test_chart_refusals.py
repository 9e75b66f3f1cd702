"""What helm answers to values that are wrong: the path of the value, and what is wrong with it."""

from typing import Any

import pytest

from helm_chart import refusal

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"replica": 2}, "''", "additional properties 'replica' not allowed"),
    ({"replicas": "two"}, "/replicas", "got string, want integer"),
    ({"replicas": 9}, "/replicas", "maximum: got 9, want 8"),
    ({"images": {"operator": {"digest": "sha256:abc"}}}, "/images/operator/digest", "does not match pattern"),
    ({"images": {"pullPolicy": "always"}}, "/images/pullPolicy", "must be one of 'Always'"),
    ({"logLevel": "TRACE"}, "/logLevel", "must be one of 'DEBUG'"),
    ({"watchNamespaces": "team-a"}, "/watchNamespaces", "got string, want array"),
    ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0", "does not match pattern"),
    ({"imagePullSecrets": ["name"]}, "/imagePullSecrets/0", "got string, want object"),
    ({"crds": {"install": True}}, "/crds", "additional properties 'install' not allowed"),
    ({"metrics": {"podMonitor": {"interval": "30"}}}, "interval", "does not match pattern"),
    ({"expose": [{"pool": "news"}]}, "/expose/0", "missing property 'host'"),
    ({"expose": [{"pool": "news", "host": "a", "type": "Route"}]}, "/expose/0/type", "must be one of"),
    ({"expose": [{"pool": "news", "host": "a", "path": "x"}]}, "/expose/0/path", "does not match pattern"),
]


@pytest.mark.parametrize(("values", "where", "what"), WRONG, ids=lambda part: str(part)[:40])
def test_a_wrong_value_is_refused_with_its_path(values: dict[str, Any], where: str, what: str) -> None:
    said = refusal(values)
    assert where in said
    assert what in said


def test_a_route_without_a_gateway_is_refused_by_name() -> None:
    said = refusal({"expose": [{"pool": "news", "host": "a.example", "type": "HTTPRoute"}]})
    assert "pool news: type HTTPRoute needs parentRefs" in said
