"""What a cluster sees of Argo CD, without one: Applications rendered and applied in the order of their waves,
each wave waited for by the health scripts in the ConfigMap argocd-cm, and told in its Applications."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime
from ruamel.yaml import YAML

from argo_health import lua_of
from harness.kubectl import Kubectl, Manifest
from harness.release import helm
from harness.waiting import eventually

NAMESPACE = "argocd"
MANAGER = "--field-manager=argocd-controller"
WAVE = "argocd.argoproj.io/sync-wave"
CUSTOM = "resource.customizations.health."
WAVE_SECONDS = 600


def application_kind() -> Manifest:
    """A definition of Applications that takes whatever they say."""
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": "Application", "plural": "applications", "singular": "application"}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": free}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "applications.argoproj.io"},
        "spec": {"group": "argoproj.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def rendered(cluster: Kubectl, application: Manifest, checkout: Path) -> list[Manifest]:
    """What the Application's source holds; `checkout` stands for its repository."""
    source = application["spec"]["source"]
    folder = checkout / source["path"]
    if "helm" not in source:
        text = "---\n".join(file.read_text() for file in sorted(folder.glob("*.yaml")))
    else:
        values = json.dumps(source["helm"].get("valuesObject", {}))
        chosen = ["--namespace", application["spec"]["destination"]["namespace"], "--set-json", values]
        text = helm(cluster, "template", source["helm"]["releaseName"], str(folder), "--skip-tests", *chosen)
    return [one for one in YAML(typ="safe", pure=True).load_all(text) if one]


@dataclass(frozen=True)
class StandIn:
    """Syncs what the Application `root` in the namespace argocd leads to."""

    cluster: Kubectl
    checkout: Path

    def sync(self, root: str) -> None:
        """Raises AssertionError where the server takes something badly, or a wave does not become Healthy."""
        top = self._argo.get("application", root)
        applications = rendered(self.cluster, top, self.checkout)
        for wave in sorted({_wave(one) for one in applications}):
            for one in applications:
                if _wave(one) == wave:
                    self._sync_one(one)

    @property
    def _argo(self) -> Kubectl:
        return self.cluster.within(NAMESPACE)

    def _sync_one(self, application: Manifest) -> None:
        name, spec = application["metadata"]["name"], application["spec"]
        self._apply(self._argo, [application])
        there = self.cluster.within(spec["destination"]["namespace"])
        labels = spec["syncPolicy"].get("managedNamespaceMetadata", {}).get("labels", {})
        metadata = {"name": there.namespace, "labels": labels}
        self._apply(there, [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        objects = rendered(self.cluster, application, self.checkout)
        self._apply(there, objects)
        eventually(lambda: self._are_healthy(there, objects), WAVE_SECONDS, f"{name} is Healthy")
        health = json.dumps({"status": {"health": {"status": "Healthy"}}})
        self._argo("patch", "application", name, "--type=merge", "-p", health)

    def _apply(self, there: Kubectl, objects: list[Manifest]) -> None:
        text = "---\n".join(json.dumps(one) + "\n" for one in objects)
        there("apply", "--server-side", "--force-conflicts", MANAGER, "-f", "-", stdin=text)

    def _are_healthy(self, there: Kubectl, objects: list[Manifest]) -> bool:
        scripts = self._argo.get("configmap", "argocd-cm").get("data", {})
        for one in objects:
            group = one["apiVersion"].rpartition("/")[0]
            kind = f"{one['kind']}.{group}" if group else one["kind"]
            live = there.find(kind, one["metadata"]["name"])
            assert live is not None, f"{kind} {one['metadata']['name']} is not there"
            script = scripts.get(f"{CUSTOM}{group}_{one['kind']}")
            status, why = _judged(script, live) if script else _built_in(live)
            assert status == "Healthy", f"{kind} {one['metadata']['name']} is {status}: {why}"
        return True


def _wave(application: Manifest) -> int:
    return int(application["metadata"]["annotations"][WAVE])


def _judged(script: str, live: Manifest) -> tuple[str, str]:
    runtime = LuaRuntime(register_eval=False, register_builtins=False)
    runtime.globals().obj = lua_of(runtime, live)
    answer: Any = runtime.execute(script)
    return answer["status"], answer["message"]


def _built_in(live: Manifest) -> tuple[str, str]:
    """Argo CD's own judgement, of the kinds that need time."""
    wanted = {"Deployment": "Available", "CustomResourceDefinition": "Established"}.get(live["kind"])
    told = {one["type"]: one["status"] for one in live.get("status", {}).get("conditions", [])}
    return ("Healthy", "") if wanted is None or told.get(wanted) == "True" else ("Progressing", f"{told}")
