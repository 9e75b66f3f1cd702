"""What a release consists of, rendered by the real helm."""

import inspect
import re
from collections import Counter
from typing import Any

import pytest
from ruamel.yaml import YAML

from fastserve.api.scaling import Staff
from fastserve.controller import settings
from fastserve.planning.objects.pool_objects import role
from helm_chart import CHART, NAMESPACE, ROOT, Manifest, of_kind, only, render, run_helm
from make import pool

EVERYTHING: dict[str, Any] = {
    "commonLabels": {"team": "search", "app.kubernetes.io/name": "theirs"},
    "commonAnnotations": {"example.com/wave": "-1"},
    "imagePullSecrets": [{"name": "pull"}],
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "podLabels": {"a": "b"},
    "podAnnotations": {"c": "d"},
    "metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
    "expose": [
        {"pool": "news", "namespace": "desk", "host": "news.example.com", "tlsSecret": "cert"},
        {"pool": "news", "host": "n.example.com", "type": "HTTPRoute", "parentRefs": [{"name": "gate"}]},
    ],
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    ],
}
SHAPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "two namespaces": {"watchNamespaces": ["a", "b"]},
}
every_shape = pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)


def pods(manifests: list[Manifest]) -> list[Manifest]:
    return [m["spec"] for m in of_kind(manifests, "Pod")] + [
        m["spec"]["template"]["spec"] for m in of_kind(manifests, "Deployment")
    ]


def rules_of(role: Manifest) -> dict[str, set[str]]:
    """Verbs by ``group/resource``."""
    return {
        f"{group}/{resource}": set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@every_shape
def test_no_two_objects_have_one_name(values: dict[str, Any]) -> None:
    names = Counter(
        (m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in render(values)
    )
    assert [name for name, times in names.items() if times > 1] == []


@every_shape
def test_no_list_that_is_a_map_names_a_key_twice(values: dict[str, Any]) -> None:
    for pod in pods(render(values)):
        for container in pod["containers"]:
            for field in ("env", "ports", "volumeMounts"):
                entries = container.get(field, [])
                names = [
                    entry.get("name") if field != "volumeMounts" else entry["mountPath"] for entry in entries
                ]
                assert len(names) == len(set(names))


@every_shape
def test_pods_keep_to_pod_security_restricted(values: dict[str, Any]) -> None:
    found = pods(render(values))
    assert len(found) == 2, "the operator, and the test"
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
        assert all(set(volume) <= {"name", "emptyDir"} for volume in pod.get("volumes", []))
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert all("hostPort" not in port for port in container.get("ports", []))


@every_shape
def test_the_selectors_find_the_operator_and_no_pod_of_a_pool_or_of_the_test(values: dict[str, Any]) -> None:
    manifests = render(values)
    labels = only(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    others = [only(manifests, "Pod")["metadata"]["labels"]]
    others.append({"app.kubernetes.io/name": "fastserve", "app.kubernetes.io/instance": "fastserve"})
    for selector in (
        only(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        only(manifests, "Service")["spec"]["selector"],
        only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert not any(selector.items() <= other.items() for other in others)


@every_shape
def test_every_object_is_labelled_as_the_releases(values: dict[str, Any]) -> None:
    for manifest in render(values):
        labels = manifest["metadata"].get("labels", {})
        if manifest["metadata"]["name"] != "fastserve-more":
            assert labels["app.kubernetes.io/managed-by"] == "Helm"
            assert labels["app.kubernetes.io/instance"] == "fastserve"
            assert labels["app.kubernetes.io/name"] in {"fastserve", "fastserve-crds"}


def test_labels_and_annotations_of_all_objects_can_be_told() -> None:
    for manifest in render({**EVERYTHING, "extraObjects": [], "crds": {"enabled": False}}):
        assert manifest["metadata"]["labels"]["team"] == "search"
        assert manifest["metadata"]["annotations"]["example.com/wave"] == "-1"


@pytest.mark.parametrize("chart", ["fastserve", "fastserve-crds"])
def test_helm_finds_nothing_to_warn_of(chart: str) -> None:
    done = run_helm("lint", "--strict", str(ROOT / "charts" / chart))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_the_definitions_are_part_of_the_release_and_outlive_it() -> None:
    found = of_kind(render(), "CustomResourceDefinition")
    assert sorted(m["metadata"]["name"] for m in found) == [
        "modelpools.fastserve.io",
        "submodels.fastserve.io",
    ]
    for definition in found:
        assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_definitions_can_be_left_out_or_given_up() -> None:
    assert of_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition") == []
    (first, _) = of_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in first["metadata"]


def test_without_namespaces_the_operator_serves_all_by_a_cluster_role() -> None:
    manifests = render()
    rules = rules_of(only(manifests, "ClusterRole", "fastserve-operator"))
    writes = {"get", "list", "watch", "create", "patch", "delete"}
    assert rules["/services"] == rules["apps/deployments"] == writes
    assert rules["fastserve.io/modelpools"] == {"list", "watch"}, "it never writes a user's spec"
    assert rules["fastserve.io/modelpools/status"] == {"patch"}
    assert not any("*" in name or "*" in verbs for name, verbs in rules.items())
    assert not {"/secrets", "/nodes", "/namespaces"} & set(rules)
    assert [m["metadata"]["namespace"] for m in of_kind(manifests, "Role")] == [NAMESPACE]


def test_the_operator_may_all_that_it_hands_on_to_routers() -> None:
    """Kubernetes refuses a role with a right that its maker lacks."""
    own = rules_of(only(render(), "ClusterRole", "fastserve-operator"))
    handed_on = rules_of(role(pool(), ["sport"], {"sport": Staff()}))
    assert {"coordination.k8s.io/leases", "fastserve.io/submodels/scale"} <= set(handed_on)
    assert {name: verbs - own[name] for name, verbs in handed_on.items() if verbs - own[name]} == {}
    assert "watch" not in own["coordination.k8s.io/leases"], "each changes every few seconds"


def test_with_namespaces_it_has_the_same_rights_there_and_none_elsewhere() -> None:
    wide = rules_of(only(render(), "ClusterRole", "fastserve-operator"))
    manifests = render({"watchNamespaces": ["a", "b", "a"]})
    roles = [m for m in of_kind(manifests, "Role") if m["metadata"]["namespace"] != NAMESPACE]
    assert [m["metadata"]["namespace"] for m in roles] == ["a", "b"]
    assert all(rules_of(role) == wide for role in roles)
    assert of_kind(manifests, "ClusterRoleBinding") == []
    assert {m["metadata"]["name"] for m in of_kind(manifests, "ClusterRole")} == {
        f"fastserve-pools-{role}" for role in ("admin", "edit", "view")
    }
    environment = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "FASTSERVE_WATCH_NAMESPACES", "value": "a,b"} in environment


def test_who_may_view_may_not_change() -> None:
    view = rules_of(only(render(), "ClusterRole", "fastserve-pools-view"))
    assert set().union(*view.values()) == {"get", "list", "watch"}


def test_the_lease_is_the_operators_own_and_no_other() -> None:
    role = only(render(), "Role", "fastserve-operator-lease")
    named = [rule for rule in role["rules"] if "create" not in rule["verbs"]]
    assert [rule["resourceNames"] for rule in named] == [["fastserve-operator"]]


def test_a_digest_wins_over_a_tag_and_an_empty_registry_is_none() -> None:
    digest = "sha256:" + "0" * 64
    images = {
        "registry": "",
        "operator": {"repository": "a.example/op", "tag": "1", "digest": digest},
        "router": {"repository": "b.example/router", "tag": "2"},
    }
    container = only(render({"images": images}), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"a.example/op@{digest}"
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["FASTSERVE_ROUTER_IMAGE"] == "b.example/router:2"
    assert environment["FASTSERVE_TRITON_IMAGE"] == "fastserve-triton:0.1.0"


def test_the_operator_is_told_every_setting_and_takes_each_as_it_is_told() -> None:
    values = {**EVERYTHING, "watchNamespaces": ["a", "b"], "apiWrites": {"perSecond": 7}, "logLevel": "DEBUG"}
    container = only(render(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    told = {entry["name"]: entry.get("value", "from-the-pod") for entry in container["env"]}
    known = set(re.findall(r"FASTSERVE_[A-Z_]+", inspect.getsource(settings)))
    assert set(told) == known
    found = settings.settings_from(told)
    assert (found.namespaces, found.writes.per_second, found.log_level) == (("a", "b"), 7, "DEBUG")
    assert found.objects.images.pull_secrets == ("pull",)
    assert found.listen.port == container["ports"][0]["containerPort"]


def test_one_operator_has_no_disruption_budget() -> None:
    assert of_kind(render({"replicas": 1}), "PodDisruptionBudget") == []


def test_only_prometheus_and_the_test_reach_the_operator() -> None:
    policy = only(render({"networkPolicy": {"prometheusNamespace": "watch"}}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert [sorted(peer) for peer in rule["from"]] == [["podSelector"], ["namespaceSelector"]]
    assert rule["from"][1]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "watch"}}


def test_a_door_is_made_beside_its_pool_and_leads_to_its_service() -> None:
    manifests = render(EVERYTHING)
    ingress, route = only(manifests, "Ingress"), only(manifests, "HTTPRoute")
    assert ingress["metadata"]["namespace"] == "desk"
    assert ingress["spec"]["tls"] == [{"hosts": ["news.example.com"], "secretName": "cert"}]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"] == {"service": {"name": "news", "port": {"number": 80}}}
    assert route["metadata"]["namespace"] == NAMESPACE
    assert route["spec"]["parentRefs"] == [{"name": "gate"}]
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "news", "port": 80}]


def test_more_objects_are_rendered_as_templates() -> None:
    assert only(render(EVERYTHING), "ConfigMap")["metadata"]["name"] == "fastserve-more"


def test_the_notes_are_five_lines_that_say_what_to_do() -> None:
    text = (CHART / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    assert [line[:2] for line in text.splitlines()] == ["1.", "2.", "3.", "4.", "5."]


def texts_that_are_none(node: Any, place: str = "") -> list[str]:
    """Where a name, a label or a reference is a number, a truth value or nothing."""
    if isinstance(node, dict):
        return [
            fault for key, value in node.items() for fault in texts_that_are_none(value, f"{place}.{key}")
        ]
    if isinstance(node, list):
        return [fault for value in node for fault in texts_that_are_none(value, place)]
    texts = (
        r"name|namespace|serviceAccountName|priorityClassName|secretName|sectionName|ingressClassName|args"
    )
    is_text = re.search(rf"\.({texts})$|[lL]abels\.|\.selector\.[a-z.]+/", place)
    return [place] if is_text and not isinstance(node, str) else []


@pytest.mark.parametrize("word", ["123", "true", "null", "1e3"])
def test_names_that_yaml_would_take_for_something_else_stay_names(word: str) -> None:
    doors = [
        {"pool": word, "namespace": word, "host": word, "className": word, "tlsSecret": word},
        {
            "pool": word,
            "host": word,
            "type": "HTTPRoute",
            "parentRefs": [{"name": word, "namespace": word, "sectionName": word}],
        },
    ]
    values = {
        "nameOverride": word,
        "watchNamespaces": [word],
        "priorityClassName": word,
        "serviceAccount": {"name": word},
        "networkPolicy": {"prometheusNamespace": word},
        "expose": doors,
    }
    done = run_helm("template", word, str(CHART), "--namespace", word, values=values)
    assert done.returncode == 0, done.stderr
    manifests = [one for one in YAML(typ="safe").load_all(done.stdout) if one]
    charted = [one for one in manifests if one["kind"] != "CustomResourceDefinition"]
    assert texts_that_are_none(charted) == []


def test_a_release_with_dots_in_its_name_has_a_service_that_may_be_called_so() -> None:
    service = only(render(release="my.fastserve"), "Service")
    assert service["metadata"]["name"] == "my-fastserve-operator"
    assert service["spec"]["selector"]["app.kubernetes.io/instance"] == "my.fastserve"
