"""examples/03-autoscaling: whoever writes /scale in External mode finds the sub-model and the metric."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from ruamel.yaml import YAML

from fastserve.api.identity import API_VERSION
from fastserve.api.manifests import parse
from fastserve.api.scaling import ScalingDecision
from fastserve.api.submodel import SubModel
from fastserve.router.scaling.exporting import ScalingMetrics

FOLDER = Path(__file__).parents[2] / "examples" / "03-autoscaling"
PLAIN = YAML(typ="safe", pure=True)
FILES = sorted((FOLDER / "external").glob("*.yaml"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def sub_models() -> dict[str, SubModel]:
    manifest = parse((FOLDER / "pool.yaml").read_text(encoding="utf-8"), "pool.yaml")
    return {one.metadata.name: one for one in manifest.sub_models}


def spec_of(file: Path) -> dict[str, Any]:
    return dict(PLAIN.load(file)["spec"])


def exported(name: str) -> str:
    """The series that a router exports for a sub-model."""
    registry = CollectorRegistry()
    decision = ScalingDecision(member=name, replicas=1, reason="Demand", message="", time="")
    ScalingMetrics(registry).decided(decision, 0)
    (line,) = [
        line
        for line in generate_latest(registry).decode().splitlines()
        if line.startswith("fastserve_desired")
    ]
    return line


def test_both_are_scaled_and_git_names_no_replicas() -> None:
    bounds = {name: one.spec.autoscaling for name, one in sub_models().items()}
    assert {name: one.min_replicas for name, one in bounds.items() if one} == {"sport": 1, "science": 0}
    for document in PLAIN.load_all(FOLDER / "pool.yaml"):
        assert "replicas" not in document["spec"]


@every_file
def test_an_autoscaler_is_for_a_sub_model_of_the_example_and_has_its_bounds(file: Path) -> None:
    spec = spec_of(file)
    target = spec["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (API_VERSION, "SubModel")
    scaling = sub_models()[target["name"]].spec.autoscaling
    assert scaling is not None
    least = spec.get("minReplicas", spec.get("minReplicaCount"))
    most = spec.get("maxReplicas", spec.get("maxReplicaCount"))
    assert (least, most) == (scaling.min_replicas, scaling.max_replicas)


def test_the_horizontal_pod_autoscaler_reads_the_metric_that_is_exported() -> None:
    (metric,) = spec_of(FOLDER / "external" / "hpa.yaml")["metrics"]
    asked = metric["external"]["metric"]
    labels = ",".join(f'{name}="{value}"' for name, value in asked["selector"]["matchLabels"].items())
    assert exported("sport").startswith(f"{asked['name']}{{{labels}}} ")
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}


def test_the_scaled_object_reads_the_metric_that_is_exported() -> None:
    (trigger,) = spec_of(FOLDER / "external" / "scaledobject.yaml")["triggers"]
    asked = trigger["metadata"]["query"]
    name, _, label = exported("science").partition(" ")[0].rstrip("}").partition("{")
    assert re.fullmatch(rf'max\({name}\{{namespace="default", {re.escape(label)}\}}\)', asked)
    assert (trigger["type"], trigger["metricType"], trigger["metadata"]["threshold"]) == (
        "prometheus",
        "AverageValue",
        "1",
    )
